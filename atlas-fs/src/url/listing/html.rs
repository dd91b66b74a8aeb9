//! Index pages in HTML. Whatever made it, a page names its entries by links, and what it says of one stands behind the link:
//!
//! ```text
//! nginx     <a href="x">x</a>     26-Nov-2026 17:01     1234
//! Apache    <a href="x">x</a></td><td>2026-11-26 17:01  </td><td>1.2K
//! Caddy     <a href="./x">..</a></td><td data-size="1234">..</td><td><time datetime="2026-11-26T17:01:00Z">
//! Python    <a href="x">x</a>
//! ```
//!
//! A size counts if it is exact: digits alone. The tokenizer of a browser engine reads the page, no tree is built of it, and so no nesting is too deep.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{
    BufferQueue, StartTag, Tag, TagToken, Token, TokenSink, TokenSinkResult, Tokenizer,
    TokenizerOpts,
};

use super::{Entries, Facts, ListingError, dates};
use crate::url::source::Kind;

pub(super) fn read(entries: &mut Entries<'_>, bytes: &[u8]) -> Result<(), ListingError> {
    // Names are in the links' percent-encoding: what is no UTF-8 around them is of no matter.
    let page: StrTendril = String::from_utf8_lossy(bytes).as_ref().into();
    let input = BufferQueue::default();
    input.push_back(page);
    let page = Page {
        state: RefCell::new(State {
            entries,
            row: None,
            failed: Ok(()),
        }),
    };
    let tokenizer = Tokenizer::new(page, TokenizerOpts::default());
    // It stops for scripts, which are none of ours.
    while !input.is_empty() {
        let _ = tokenizer.feed(&input);
    }
    tokenizer.end();
    let mut state = tokenizer.sink.state.borrow_mut();
    state.end_row();
    std::mem::replace(&mut state.failed, Ok(()))
}

struct Page<'a, 'b> {
    state: RefCell<State<'a, 'b>>,
}

struct State<'a, 'b> {
    entries: &'b mut Entries<'a>,
    row: Option<Row>,
    failed: Result<(), ListingError>,
}

/// A link into this folder, and what came behind it.
struct Row {
    name: String,
    kind: Kind,
    /// Within the link, whose text is the name, perhaps shortened.
    in_link: bool,
    text: String,
    size: Option<u64>,
    datetime: Option<String>,
}

impl TokenSink for Page<'_, '_> {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.state.borrow_mut();
        match token {
            TagToken(tag) => state.handle_tag(&tag),
            Token::CharacterTokens(text) => state.handle_text(&text),
            Token::DoctypeToken(_)
            | Token::CommentToken(_)
            | Token::NullCharacterToken
            | Token::EOFToken
            | Token::ParseError(_) => {}
        }
        TokenSinkResult::Continue
    }
}

impl State<'_, '_> {
    fn handle_tag(&mut self, tag: &Tag) {
        let begins = tag.kind == StartTag;
        match &*tag.name {
            "a" if begins => {
                self.end_row();
                let linked = attribute(tag, "href").and_then(|href| self.entries.linked(href));
                self.row = linked.map(|(name, kind)| Row {
                    name,
                    kind,
                    in_link: true,
                    text: String::new(),
                    size: None,
                    datetime: None,
                });
            }
            "a" => {
                if let Some(row) = &mut self.row {
                    row.in_link = false;
                }
            }
            "tr" | "li" | "table" | "pre" => self.end_row(),
            "td" | "time" if begins => self.handle_facts(tag),
            // Cells are words of their own.
            _ => self.handle_text(" "),
        }
    }

    fn handle_facts(&mut self, tag: &Tag) {
        let Some(row) = &mut self.row else { return };
        if let Some(size) = attribute(tag, "data-size") {
            row.size = size.parse().ok();
        }
        if let Some(datetime) = attribute(tag, "datetime") {
            row.datetime = Some(datetime.to_owned());
        }
        self.handle_text(" ");
    }

    fn handle_text(&mut self, text: &str) {
        if let Some(row) = self.row.as_mut().filter(|row| !row.in_link) {
            let room = TEXT_BYTES_MAX.saturating_sub(row.text.len());
            row.text
                .push_str(&text[..text.floor_char_boundary(room.min(text.len()))]);
        }
    }

    fn end_row(&mut self) {
        let Some(row) = self.row.take() else { return };
        let facts = row.facts();
        if self.failed.is_ok() {
            self.failed = self.entries.add(&row.name, row.kind, facts);
        }
    }
}

impl Row {
    fn facts(&self) -> Facts {
        let mut words = self.text.split_whitespace();
        let modified = words
            .next()
            .zip(words.next())
            .and_then(|(date, time)| dates::of_words(date, time));
        // Without a date before it, a number may be anything.
        let size = words.next().filter(|_| modified.is_some());
        let size = size.and_then(|size| size.parse().ok());
        let datetime = self.datetime.as_deref().and_then(dates::iso);
        Facts {
            size: self.size.or(size),
            modified: datetime.or(modified),
        }
    }
}

fn attribute<'a>(tag: &'a Tag, name: &str) -> Option<&'a str> {
    let mut attributes = tag.attrs.iter();
    let found = attributes.find(|attribute| &*attribute.name.local == name);
    found.map(|attribute| &*attribute.value)
}

/// A date, a time and a size, with all the blanks that pages align them by.
const TEXT_BYTES_MAX: usize = 512;
