use std::borrow::Cow;
use std::fmt::Display;

#[atlas::spawn]
fn slice(data: &[u64]) -> u64 {
    // The call is not reported once more.
    let (a, b) = atlas::join!(slice(&data[1..]), slice(&data[..1]));
    a + b
}

#[atlas::spawn]
fn text(data: &str) -> usize {
    data.len()
}

#[atlas::spawn]
fn exclusive(data: &mut Vec<u64>) {
    data.clear();
}

#[atlas::spawn]
fn fixed(data: &'static str) -> usize {
    data.len()
}

#[atlas::spawn]
fn nested(data: Vec<(u64, &str)>) -> usize {
    data.len()
}

#[atlas::spawn]
fn anonymous(data: Cow<'_, str>) -> usize {
    data.len()
}

#[atlas::spawn]
fn opaque(data: impl Display) -> String {
    data.to_string()
}

#[atlas::spawn]
fn dynamic(data: Box<dyn Display>) -> String {
    data.to_string()
}

#[atlas::spawn]
fn conditional(#[cfg(unix)] data: u64) {}

#[atlas::spawn]
fn thirteen(
    _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8,
) {
}

fn main() {}
