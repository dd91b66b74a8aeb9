use atlas::join;

#[atlas::spawn]
fn id(x: u64) -> u64 {
    x
}

struct Board;

impl Board {
    fn solve(&self) -> u64 {
        1
    }
}

fn main() {
    let board = Board;
    join!();
    join!(id(1));
    join!(|| id(1), || id(2));
    join!(id(1), board.solve());
    join!(id, id(2));
    join!(id::<u64>(1), id(2));
    join!(<Board as Default>::default(), id(2));
    join!(id(1) + 1, id(2));
    join!({ id(1) }, id(2));
    join!(vec![1], id(2));
    join!((|| 1)(), id(2));
    join!(#[inline] id(1), id(2));
    join!(id(1); id(2));
    join!(
        id(1), id(2), id(3), id(4), id(5), id(6), id(7), id(8), id(9), id(10), id(11), id(12),
        id(13), id(14),
    );
}
