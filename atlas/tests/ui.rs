//! What the macros accept and reject, with the text of each message: the files
//! in `ui/fail` hold the mistakes, the `.stderr` beside each what is printed.
//!
//! After a deliberate change to a message, `TRYBUILD=overwrite cargo test -p
//! atlas --test ui` writes the files anew; the difference is then reviewed.

#[test]
fn messages() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
