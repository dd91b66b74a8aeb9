use atlas::spawn_next;

#[atlas::spawn]
fn id(x: u64) -> u64 {
    x
}

fn main() {
    spawn_next!();
    spawn_next!(id(1), id(2));
    spawn_next!(id(1), id(2) =>);
    spawn_next!(=> id(1));
    spawn_next!(id(1) -> id());
    spawn_next!(id(1) => id);
    spawn_next!(id(1) => |x| x);
    spawn_next!(id(1), 2 => id(), id());
    spawn_next!(|| 1, 2 => 3);
    spawn_next!(
        id(1), id(2), id(3), id(4), id(5), id(6), id(7), id(8), id(9) => id()
    );
    spawn_next!(id(1), id(2), id(3) => id(4, 5, 6, 7, 8, 9, 10, 11, 12, 13));
}
