//! What the macros expand to, at run time: values, order of evaluation, names
//! and visibility. Scheduling has its own tests; these hold for any schedule.

use std::sync::Mutex;

use atlas::__private::{Task, inventory};
use atlas::prelude::*;
use serde::{Deserialize, Serialize};

#[atlas::spawn]
fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = join!(fib(n - 1), fib(n - 2));
    a + b
}

#[atlas::spawn]
fn fib_next(n: u64) -> Next<u64> {
    if n < 2 {
        return Next::value(n);
    }
    spawn_next!(fib_next(n - 1), fib_next(n - 2) => sum())
}

#[atlas::spawn]
fn sum(a: u64, b: u64) -> u64 {
    a + b
}

#[atlas::spawn]
fn id(x: u64) -> u64 {
    x
}

#[test]
fn plain_call_is_the_plain_function() {
    assert_eq!(fib(10), 55);
}

#[test]
fn join_gives_results_in_the_order_of_the_calls() {
    assert_eq!(join!(id(1), sum(1, 1)), (1, 2));
    assert_eq!(join!(id(1), id(2), id(3)), (1, 2, 3));
}

#[test]
fn join_takes_twelve_children() {
    let results = join!(
        id(0),
        id(1),
        id(2),
        id(3),
        id(4),
        id(5),
        id(6),
        id(7),
        id(8),
        id(9),
        id(10),
        id(11),
    );
    assert_eq!(results, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
}

#[test]
fn join_takes_joins_as_arguments() {
    let ((a, b), c) = join!(pair(join!(id(1), id(2)).1, id(3)), id(4));
    assert_eq!((a, b, c), (2, 3, 4));
}

#[atlas::spawn]
fn pair(a: u64, b: u64) -> (u64, u64) {
    (a, b)
}

#[test]
fn arguments_are_evaluated_once_from_left_to_right_before_any_child() {
    let order = Mutex::new(Vec::new());
    let note = |n: u64| {
        order.lock().unwrap().push(n);
        n
    };
    join!(sum(note(1), note(2)), id(note(3)), sum(note(4), note(5)));
    spawn!(sum(note(6), note(7))).sync();
    assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4, 5, 6, 7]);
    order.lock().unwrap().clear();
    let next: Next<u64> = spawn_next!(id(note(1)), id(note(2)) => weigh(note(3), note(4)));
    assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4]);
    assert_eq!(atlas::run(|| next_value(next)), 4321);
}

#[atlas::spawn]
fn weigh(a: u64, b: u64, c: u64, d: u64) -> u64 {
    a + 10 * b + 100 * c + 1000 * d
}

fn next_value(next: Next<u64>) -> u64 {
    next.sync()
}

#[test]
fn question_mark_in_an_argument_leaves_the_caller() {
    fn parse_both(a: &str, b: &str) -> Result<u64, std::num::ParseIntError> {
        let (a, b) = join!(id(a.parse()?), id(b.parse()?));
        Ok(a + b)
    }
    assert_eq!(parse_both("1", "2"), Ok(3));
    assert!(parse_both("1", "x").is_err());
}

#[test]
fn arguments_coerce_as_in_a_call() {
    #[atlas::spawn]
    fn small(x: u8, y: Option<Box<u16>>) -> u64 {
        u64::from(x) + y.map_or(0, |y| u64::from(*y))
    }
    assert_eq!(join!(small(1, Some(Box::new(2))), small(3, None)), (3, 3));
    assert_eq!(
        join!(small("7".parse().unwrap(), None), id("8".parse().unwrap())),
        (7, 8)
    );
}

#[test]
fn handles_are_synced_in_any_order() {
    let (a, b) = (spawn!(fib(5)), spawn!(fib(6),));
    assert_eq!((b.sync(), a.sync()), (8, 5));
}

mod next {
    use super::*;

    #[test]
    fn continuation_gets_results_first_and_captures_last() {
        assert_eq!(spawn_next!(id(1) => weigh(2, 3, 4)).sync(), 4321);
        assert_eq!(spawn_next!(id(1), id(2), id(3), => weigh(4),).sync(), 4321);
        assert_eq!(
            spawn_next!(id(1), id(2), id(3), id(4) => weigh()).sync(),
            4321
        );
    }

    #[test]
    fn children_and_continuation_may_continue_themselves() {
        assert_eq!(fib_next(10).sync(), 55);
        assert_eq!(spawn_next!(id(10) => fib_next()).sync(), 55);
        assert_eq!(join!(fib_next(10), fib(10)), (55, 55));
    }

    #[test]
    fn eight_children() {
        #[atlas::spawn]
        #[expect(clippy::too_many_arguments, reason = "the limit is tested")]
        fn all(
            a: u64,
            b: u64,
            c: u64,
            d: u64,
            e: u64,
            f: u64,
            g: u64,
            h: u64,
            tail: Vec<u64>,
        ) -> Vec<u64> {
            [vec![a, b, c, d, e, f, g, h], tail].concat()
        }
        let next = spawn_next!(
            id(1), id(2), id(3), id(4), id(5), id(6), id(7), id(8) => all(vec![9])
        );
        assert_eq!(next.sync(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}

mod arguments {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Private {
        n: u64,
    }

    #[atlas::spawn]
    fn patterns(
        mut a: u64,
        _: u64,
        (b, c): (u64, u64),
        Private { n }: Private,
        [d, ..]: [u64; 3],
    ) -> u64 {
        a += 1;
        a + b + c + n + d
    }

    // A parameter may have the name of the function, or of what the expansion binds.
    #[atlas::spawn]
    fn shadow(shadow: u64, argument_0: u64, result_0: u64) -> u64 {
        let arguments_1 = 1;
        let (x, y) = join!(id(argument_0 + arguments_1), id(result_0 * arguments_1));
        shadow + x + y
    }

    #[atlas::spawn]
    fn none() {}

    #[atlas::spawn]
    #[expect(
        clippy::too_many_arguments,
        reason = "twelve is the limit that is tested"
    )]
    fn twelve(
        a: u8,
        b: u8,
        c: u8,
        d: u8,
        e: u8,
        f: u8,
        g: u8,
        h: u8,
        i: u8,
        j: u8,
        k: u8,
        l: u8,
    ) -> u8 {
        a + b + c + d + e + f + g + h + i + j + k + l
    }

    #[test]
    fn any_irrefutable_pattern_is_a_parameter() {
        let call = || join!(patterns(1, 2, (3, 4), Private { n: 5 }, [6, 7, 8]), id(0)).0;
        assert_eq!(call(), 20);
    }

    #[test]
    fn names_of_the_program_and_of_the_expansion_do_not_meet() {
        assert_eq!(join!(shadow(1, 2, 3), none()), (7, ()));
    }

    #[test]
    fn zero_to_twelve_arguments() {
        let (unit, twelve) = join!(none(), twelve(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
        assert_eq!((unit, twelve), ((), 78));
    }
}

mod names {
    use super::*;

    pub(crate) mod outer {
        pub(crate) mod inner {
            #[atlas::spawn]
            pub(crate) fn deep(x: u64) -> u64 {
                x + 1
            }

            #[atlas::spawn]
            pub(in crate::names) fn restricted(x: u64) -> u64 {
                atlas::join!(deep(x), super::sibling(x)).0
            }
        }

        #[atlas::spawn]
        pub(super) fn sibling(x: u64) -> u64 {
            atlas::join!(inner::deep(x), self::inner::deep(x)).1
        }
    }

    use outer::inner::deep;
    use outer::inner::deep as renamed;

    #[atlas::spawn]
    fn r#match(x: u64) -> u64 {
        x
    }

    #[test]
    fn tasks_are_called_by_any_path() {
        let by_path = join!(outer::inner::deep(1), crate::names::outer::inner::deep(2));
        assert_eq!(by_path, (2, 3));
        assert_eq!(join!(deep(1), renamed(2)), (2, 3));
        assert_eq!(join!(self::deep(1), super::id(2)), (2, 2));
        assert_eq!(
            join!(outer::inner::restricted(1), outer::sibling(1)),
            (2, 2)
        );
        assert_eq!(join!(r#match(1), id(2)), (1, 2));
    }

    #[test]
    fn calls_pass_through_macro_rules() {
        macro_rules! both {
            ($a:expr, $f:ident, $g:path) => {
                join!($a, $f(2), $g(3))
            };
        }
        assert_eq!(both!(id(1), id, outer::inner::deep), (1, 2, 4));
    }

    #[test]
    fn path_is_crate_modules_and_name() {
        assert_eq!(<fib as Task>::PATH, "macros::fib");
        assert_eq!(<renamed as Task>::PATH, "macros::names::outer::inner::deep");
        assert_eq!(<r#match as Task>::PATH, "macros::names::match");
    }

    #[test]
    fn every_task_is_registered_once() {
        let count = |path| {
            let infos = inventory::iter::<atlas::__private::TaskInfo>();
            infos.into_iter().filter(|info| info.path() == path).count()
        };
        assert_eq!(count("macros::fib"), 1);
        assert_eq!(count("macros::names::outer::inner::deep"), 1);
        assert_eq!(count("macros::conditions::chosen"), 1);
    }
}

mod options {
    use super::*;

    #[atlas::spawn(impure)]
    fn impure() -> u64 {
        1
    }

    #[test]
    fn impure_is_said_of_the_task_alone() {
        const { assert!(<impure as Task>::IMPURE && !<fib as Task>::IMPURE) };
        assert_eq!(join!(impure(), id(2)), (1, 2));
    }
}

mod conditions {
    use super::*;

    #[atlas::spawn]
    #[cfg(test)]
    fn chosen() -> u64 {
        1
    }

    #[atlas::spawn]
    #[cfg(not(test))]
    fn chosen() -> Missing {
        missing()
    }

    #[test]
    fn cfg_holds_for_all_that_is_generated() {
        assert_eq!(join!(chosen(), id(2)), (1, 2));
    }
}
