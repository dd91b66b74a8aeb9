use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;

fn folder() -> Url {
    Url::parse("http://example.org/pub/data/").unwrap()
}

fn listed(content_type: &str, text: &str) -> Vec<Entry> {
    parse(&folder(), Some(content_type), text.as_bytes()).unwrap()
}

fn at() -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_712_460))
}

fn entry(name: &str, kind: Kind, size: Option<u64>, modified: Option<SystemTime>) -> Entry {
    Entry {
        name: name.into(),
        kind,
        size,
        modified,
    }
}

const NGINX: &str = "<html>\r\n<head><title>Index of /pub/data/</title></head>\r\n<body>\r\n<h1>Index of /pub/data/</h1><hr>\
<pre><a href=\"../\">../</a>\r\n<a href=\"deep/\">deep/</a>                                              26-Nov-2026 17:01                   -\r\n\
<a href=\"a%20b%3F%23%25.txt\">a b?#%.txt</a>                                         26-Nov-2026 17:01                1234\r\n\
<a href=\"%C3%A4%C3%A4%C3%A4%C3%A4%C3%A4\">ääää..&gt;</a>                                    26-Nov-2026 17:01                  1M\r\n</pre><hr></body>\r\n</html>\r\n";

#[test]
fn nginx_lists_folders_and_files_with_exact_sizes() {
    assert_eq!(
        listed("text/html", NGINX),
        [
            entry("deep", Kind::Folder, None, at()),
            entry("a b?#%.txt", Kind::File, Some(1234), at()),
            entry("äääää", Kind::File, None, at()),
        ]
    );
}

#[test]
fn apache_lists_in_pre_and_in_tables() {
    let sorts = r#"<a href="?C=N;O=D">Name</a> <a href="?C=M;O=A">Last modified</a>"#;
    let pre = format!(
        r#"<pre><img src="/icons/blank.gif" alt="Icon "> {sorts}<hr><img src="/icons/back.gif" alt="[PARENTDIR]"> <a href="/pub/">Parent Directory</a>                             -
<img src="/icons/unknown.gif" alt="[   ]"> <a href="big">big</a>                     2026-11-26 17:01  1.2M  1999 things
<img src="/icons/unknown.gif" alt="[   ]"> <a href="small">small</a>                   2026-11-26 17:01   12
<hr></pre>"#
    );
    let table = format!(
        r#"<table><tr><th>{sorts}</th></tr>
<tr><td valign="top"><img src="/icons/back.gif"></td><td><a href="/pub/">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td><td>&nbsp;</td></tr>
<tr><td valign="top"><img></td><td><a href="big">big</a></td><td align="right">2026-11-26 17:01  </td><td align="right">1.2M</td><td>1999 things</td></tr>
<tr><td valign="top"><img></td><td><a href="small">small</a></td><td align="right">2026-11-26 17:01  </td><td align="right"> 12 </td><td>&nbsp;</td></tr>
</table>"#
    );
    for page in [pre, table] {
        assert_eq!(
            listed("text/html;charset=UTF-8", &page),
            [
                entry("big", Kind::File, None, at()),
                entry("small", Kind::File, Some(12), at()),
            ]
        );
    }
}

#[test]
fn caddy_lists_sizes_and_times_as_attributes() {
    let page = r#"<!DOCTYPE html><html><body><table><tbody>
<tr><td></td><td><a href=".."><span class="goup">Up</span></a></td><td>&mdash;</td></tr>
<tr class="file"><td></td><td><a href="./deep/"><svg></svg><span class="name">deep</span></a></td><td>&mdash;</td>
<td class="timestamp hideable"><time datetime="2026-11-26T17:01:00Z">11/26/2026 05:01:00 PM +00:00</time></td></tr>
<tr class="file"><td></td><td><a href="./x.bin"><span class="name">x.bin</span></a></td>
<td class="size" data-size="1234"><div class="sizebar"><div class="sizebar-text">1.2 KiB</div></div></td>
<td class="timestamp hideable"><time datetime="2026-11-26T17:01:00Z">11/26/2026 05:01:00 PM +00:00</time></td></tr>
</tbody></table></body></html>"#;
    assert_eq!(
        listed("text/html; charset=utf-8", page),
        [
            entry("deep", Kind::Folder, None, at()),
            entry("x.bin", Kind::File, Some(1234), at()),
        ]
    );
}

#[test]
fn python_lists_names_alone() {
    let page = "<!DOCTYPE HTML>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Directory listing for /pub/data/</title>\n</head>\n<body>\n\
<h1>Directory listing for /pub/data/</h1>\n<hr>\n<ul>\n<li><a href=\"deep/\">deep/</a></li>\n<li><a href=\"link\">link@</a></li>\n\
<li><a href=\"a%20%26%20b\">a &amp; b</a></li>\n</ul>\n<hr>\n</body>\n</html>\n";
    let names = [
        entry("deep", Kind::Folder, None, None),
        entry("link", Kind::File, None, None),
        entry("a & b", Kind::File, None, None),
    ];
    assert_eq!(listed("text/html", page), names);
    // The form shows by itself where the server says nothing of use.
    let said = parse(&folder(), Some("application/octet-stream"), page.as_bytes());
    assert_eq!(said.unwrap(), names);
}

#[test]
fn json_of_nginx_and_caddy() {
    let nginx = r#"[
{ "name":"deep", "type":"directory", "mtime":"Thu, 26 Nov 2026 17:01:00 GMT" },
{ "name":"a b?", "type":"file", "mtime":"Thu, 26 Nov 2026 17:01:00 GMT", "size":1234 },
{ "name":"tty", "type":"other", "mtime":"Thu, 26 Nov 2026 17:01:00 GMT" }
]"#;
    let caddy = r#"[{"name":"deep/","size":4096,"url":"./deep/","mod_time":"2026-11-26T17:01:00Z","mode":1,"is_dir":true,"is_symlink":false},
{"name":"a b?","size":1234,"url":"./a%20b%3F","mod_time":"2026-11-26T17:01:00Z","mode":1,"is_dir":false,"is_symlink":false}]"#;
    for text in [nginx, caddy] {
        assert_eq!(
            listed("application/json", text),
            [
                entry("deep", Kind::Folder, None, at()),
                entry("a b?", Kind::File, Some(1234), at()),
            ]
        );
    }
    for damaged in ["", "[", "{}", "[1]", "[{\"size\":-1}]", &nginx[..100]] {
        let parsed = parse(&folder(), Some("application/json"), damaged.as_bytes());
        assert!(parsed.is_err(), "{damaged}");
    }
}

const DAV: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:" xmlns:x="urn:x">
<D:response><D:href>/pub/data/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
<D:response><D:href>/pub/data/deep</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype><D:getlastmodified>Thu, 26 Nov 2026 17:01:00 GMT</D:getlastmodified></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>
<D:propstat><D:prop><D:getcontentlength>7</D:getcontentlength></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response>
<response xmlns="DAV:"><href>http://example.org/pub/data/a%20&amp;%20b</href><propstat><prop><getcontentlength>1234</getcontentlength><x:getcontentlength>9</x:getcontentlength><resourcetype/><getlastmodified>Thu, 26 Nov 2026 17:01:00 GMT</getlastmodified></prop><status>HTTP/1.1 200 OK</status></propstat></response>
<D:response><D:href>/pub/data/deep/er</D:href></D:response>
<D:response><D:href>/pub/elsewhere</D:href></D:response>
</D:multistatus>"#;

#[test]
fn propfind_counts_what_has_status_200_in_davs_namespace() {
    assert_eq!(
        listed("application/xml; charset=utf-8", DAV),
        [
            entry("deep", Kind::Folder, None, at()),
            entry("a & b", Kind::File, Some(1234), at()),
        ]
    );
}

#[test]
fn xml_that_is_damaged_or_hostile_is_an_error() {
    let bomb = r#"<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;">]>
<multistatus xmlns="DAV:"><response><href>&b;</href></response></multistatus>"#;
    let deep = format!("<multistatus xmlns=\"DAV:\">{}", "<x>".repeat(100_000));
    let half = &DAV[..DAV.len() / 2];
    for text in ["<?xml?><html/>", "<a></b>", bomb, &deep, half, "x", ""] {
        let parsed = parse(&folder(), Some("text/xml"), text.as_bytes());
        assert!(matches!(parsed, Err(ListingError::Dav(_))), "{text:.60}");
    }
}

#[test]
fn an_atlas_index_is_a_line_an_entry() {
    let text = "atlas.index 1\n# made by hand\n- 2026-11-26T17:01:00Z deep/\n1234\t2026-11-26T17:01:00Z\ta b?%\n- -  blank\n\n5 - last";
    assert_eq!(
        listed("text/plain", text),
        [
            entry("deep", Kind::Folder, None, at()),
            entry("a b?%", Kind::File, Some(1234), at()),
            entry(" blank", Kind::File, None, None),
            entry("last", Kind::File, Some(5), None),
        ]
    );
    for (line, text) in [
        (2, "atlas.index 1\nx"),
        (3, "atlas.index 1\n\n1 yesterday x"),
    ] {
        let parsed = parse(&folder(), None, text.as_bytes());
        assert!(matches!(parsed, Err(ListingError::Line { line: told }) if told == line));
    }
}

#[test]
fn names_that_cannot_be_a_path_are_dropped() {
    let long = "x".repeat(300);
    let names = [
        "a%2Fb",
        "a%2fb",
        "..",
        "%2e%2e",
        ".",
        "%2E",
        "",
        "a%00",
        "%FF",
        "/",
        "//",
        "//evil/x",
        "?q",
        "x?q",
        "#f",
        "http://evil/x",
        "javascript:x",
        "mailto:x@y",
        "../../etc",
        "deep/er",
        "a%5c..%5cb/%2e%2e/x/y",
        &long,
        "http://example.org/pub/data/%2F",
        "/pub/data",
        "/pub/datax",
        "https://example.org/pub/data/x",
        "http://user@example.org:81/pub/data/x",
    ];
    let links: String = names
        .iter()
        .map(|name| format!("<a href=\"{name}\">x</a> 26-Nov-2026 17:01 1\n"))
        .collect();
    assert_eq!(listed("text/html", &links), []);
    let lines: String = ["a/b", "..", ".", "", "a\0", "/", "x//", &long]
        .iter()
        .map(|name| format!("1 - {name}\n"))
        .collect();
    assert_eq!(listed("text/plain", &format!("{PLAIN_HEAD}{lines}")), []);
    // 255 bytes go, also if a name's own percent signs make it longer there.
    let fits = format!("{}%25", "x".repeat(254));
    assert_eq!(
        listed("text/html", &format!("<a href='{fits}'>x</a>")).len(),
        1
    );
    let fits_not = format!("{}%3F", "x".repeat(254));
    assert_eq!(
        listed("text/html", &format!("<a href='{fits_not}'>x</a>")),
        []
    );
}

#[test]
fn the_first_of_two_with_one_name_counts() {
    let page = "<a href='x'>x</a> 26-Nov-2026 17:01 1\n<a href='x/'>x/</a>\n<a href='./x'>x</a> 26-Nov-2026 17:01 2\n";
    assert_eq!(
        listed("text/html", page),
        [entry("x", Kind::File, Some(1), at())]
    );
}

#[test]
fn a_form_that_is_not_known_is_named() {
    let error = parse(&folder(), Some("image/png"), b"\x89PNG").unwrap_err();
    assert!(error.to_string().contains("\"image/png\""));
    assert!(parse(&folder(), None, b"").is_err());
}

#[test]
fn a_huge_folder_is_read_whole_and_a_larger_one_refused() {
    let page: String = (0..30_000)
        .map(|n| format!("<a href=\"f{n}\">f{n}</a>   26-Nov-2026 17:01   {n}\n"))
        .collect();
    let entries = listed("text/html", &page);
    assert_eq!(entries.len(), 30_000);
    assert_eq!(entries[29_999].size, Some(29_999));
    let url = folder();
    let mut entries = Entries {
        entries_max: 29_999,
        ..Entries::of(&url)
    };
    let read = html::read(&mut entries, page.as_bytes());
    assert!(matches!(read, Err(ListingError::TooMany)));
}

#[test]
fn nesting_without_end_is_no_trouble() {
    let page = "<table><tr><td><div>".repeat(50_000) + "<a href='x'>x</a>";
    assert_eq!(listed("text/html", &page).len(), 1);
}

proptest! {
    #[test]
    fn what_python_and_nginx_write_of_a_name_is_read_back(names in proptest::collection::hash_set("[^/\0]{1,30}", 0..20)) {
        let names: Vec<_> = names.into_iter().filter(|name| name != "." && name != "..").collect();
        let names: Vec<_> = names.iter().filter(|name| path::file_name(name).is_ok()).collect();
        let page: String = names.iter().map(|name| {
            let href = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
            format!("<a href=\"{href}\">?</a> 26-Nov-2026 17:01 7\n")
        }).collect();
        let entries = listed("text/html", &page);
        prop_assert_eq!(entries.iter().map(|entry| &entry.name).collect::<Vec<_>>(), names);
        prop_assert!(entries.iter().all(|entry| entry.size == Some(7)));
    }

    #[test]
    fn any_bytes_give_names_of_this_folder_or_an_error(
        kind in prop::sample::select(vec!["text/html", "application/json", "text/xml", "text/plain"]),
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "(<|>|a|href|=|\"|'|/|%2F|\\.\\.|&amp;|&#47;|<script>|<!--|\\PC){0,60}".prop_map(String::into_bytes),
            "atlas.index 1\n([0-9-]{1,3} - \\PC{0,9}\n){0,9}".prop_map(String::into_bytes),
        ],
    ) {
        for entry in parse(&folder(), Some(kind), &bytes).unwrap_or_default() {
            prop_assert!(path::file_name(&entry.name).is_ok());
            prop_assert!(!entry.name.contains('/') && entry.name != "..");
        }
    }

    #[test]
    fn a_page_cut_anywhere_panics_nowhere(at in 0..DAV.len(), form in 0..2_usize) {
        let (kind, text) = [("text/xml", DAV), ("text/html", NGINX)][form];
        let bytes = &text.as_bytes()[..at.min(text.len())];
        let _ = parse(&folder(), Some(kind), bytes);
    }
}
