use std::process::ExitCode;

#[atlas::main]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}
