//! Fetches files by URL into a store, and tells how quickly: `fetch FOLDER URL..`. With `READ=1` it also reads them, as a program
//! does, and tells their BLAKE3 hashes.

use std::error::Error;
use std::time::Instant;

use atlas_fs::url::{Files, Options, Pins, Source, UrlFile};
use url::Url;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("fetch FOLDER URL..")?;
    let files = Files::open_store(Options::new(folder), |_, _, _| Ok(Vec::new()))?;
    let pins = Pins::new();
    for url in arguments {
        let begun = Instant::now();
        let file = files.open(&Url::parse(&url)?, &pins).await?;
        let hash = if std::env::var_os("READ").is_some() {
            hash(&file).await?
        } else {
            file.fetch_all().await?;
            String::new()
        };
        let seconds = begun.elapsed().as_secs_f64();
        println!("{url}: {} bytes in {seconds:.3} s {hash}", file.len());
    }
    println!("{:?}", files.figures());
    Ok(())
}

async fn hash(file: &UrlFile) -> Result<String, Box<dyn Error>> {
    let (mut hasher, mut at, mut buffer) = (blake3::Hasher::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read_at(at, &mut buffer).await?;
        if read == 0 {
            return Ok(hasher.finalize().to_string());
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
}
