#[atlas::spawn]
fn of_type<T: Clone>(value: Vec<T>) -> Vec<T> {
    value
}

#[atlas::spawn]
fn of_lifetime<'a>(value: std::borrow::Cow<'a, str>) -> usize {
    value.len()
}

#[atlas::spawn]
fn of_const<const N: usize>() -> usize {
    N
}

#[atlas::spawn]
fn bounded(n: u64) -> u64
where
    u64: Copy,
{
    n
}

fn main() {
    // A rejected task is reported once, wherever it is called.
    let _ = atlas::join!(of_type(vec![1]), of_const());
}
