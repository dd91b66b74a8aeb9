use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Hidden;

// As public as the task: that is `pub(crate) fn`, or `pub struct`.
#[atlas::spawn]
pub fn more_public_than_its_argument(_: Hidden) {}

fn main() {}
