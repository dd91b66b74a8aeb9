//! A program that speaks another version of the engines' protocol than its server, as one does that was built with another version
//! of Atlas: the first byte of each message is its version.
//!
//! Of the two, whoever first hears the other may be the one that notices: the program if it `reads`, its server if it `speaks`.
#![forbid(unsafe_code)]

use std::env;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let path = env::var_os("ATLAS_ENGINE_SOCKET");
    let path = path.ok_or_else(|| io::Error::other("only a server starts this"))?;
    let mut socket = UnixStream::connect(path)?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut hello = vec![0; u32::from_le_bytes(length) as usize];
    socket.read_exact(&mut hello)?;
    let (theirs, own) = (hello[0], hello[0] + 1);
    if env::args().nth(1).as_deref() == Some("reads") {
        eprintln!("atlas: the frame is of version {theirs}, and this side speaks version {own}");
        return Ok(ExitCode::FAILURE);
    }
    let answer = [&1_u32.to_le_bytes()[..], &[own]].concat();
    socket.write_all(&answer)?;
    // Until the server has hung up.
    io::copy(&mut socket, &mut io::sink())?;
    Ok(ExitCode::SUCCESS)
}
