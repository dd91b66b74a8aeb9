//! The programs under test, a module for each: five recursive programs with a
//! join at every call and no cutoff, and four questions about pools.
//!
//! A program gives `program(size)`, all its forms side by side. The others give
//! `measure(..)`, since what they measure is no ratio of two times.
//!
//! chili runs the *second* closure of a join at once and offers the first to
//! others, where Atlas and rayon do the reverse; so it is given the children in
//! reverse order, which it does as well or better with in all of them.
//!
//! Closures capture by value (`move`), since what is captured by reference has to
//! be in memory: on most of the programs that is a good deal faster for all
//! three libraries, and nowhere much slower.

pub mod fib;
pub mod flat;
pub mod idle;
pub mod integrate;
pub mod nqueens;
pub mod region;
pub mod seq_in_pool;
pub mod tree;
pub mod uts;
