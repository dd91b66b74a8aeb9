//! Serial stand-in while the scheduler is being laid.
#![allow(missing_docs, dead_code)]
pub mod task;
pub use task::*;
pub use inventory;
pub mod portable {
    #[derive(Clone, Copy)]
    pub struct ErasedTask {}
    impl ErasedTask { pub const fn of<T: crate::Task>() -> Self { Self {} } }
}
pub mod next {
    use crate::*;
    #[diagnostic::on_unimplemented(
        message = "`{Self}` cannot be the result of an Atlas task",
        label = "cannot leave this process",
        note = "a task returns `T` or `atlas::Next<T>`, where `T` is owned, `Send`, and implements serde's `Serialize` and `DeserializeOwned`",
        note = "derive them: `#[derive(serde::Serialize, serde::Deserialize)]`; for borrowed data use `atlas::join` or `atlas::scope`"
    )]
    pub trait Returned { type Value: Portable; fn finish(self) -> Self::Value; }
    #[diagnostic::do_not_recommend]
    impl<T: Portable> Returned for T { type Value = T; fn finish(self) -> T { self } }
    pub struct Next<T> { run: Box<dyn FnOnce() -> T + Send> }
    impl<T: Portable> Next<T> {
        pub fn value(value: T) -> Self { Self { run: Box::new(move || value) } }
        pub fn sync(self) -> T { (self.run)() }
    }
    impl<T: Portable> Returned for Next<T> { type Value = T; fn finish(self) -> T { self.sync() } }
    pub trait Children { type Args: Send; type Values; fn run(args: Self::Args) -> Self::Values; }
    macro_rules! children { ($($t:ident $a:ident),*) => {
        impl<$($t: Task),*> Children for ($($t,)*) {
            type Args = ($($t::Args,)*); type Values = ($(Value<$t>,)*);
            fn run(args: Self::Args) -> Self::Values { let ($($a,)*) = args; ($($t::call($a).finish(),)*) }
        }
    } }
    children!(A a); children!(A a, B b); children!(A a, B b, C c); children!(A a, B b, C c, D d);
    children!(A a, B b, C c, D d, E e); children!(A a, B b, C c, D d, E e, F f); children!(A a, B b, C c, D d, E e, F f, G g); children!(A a, B b, C c, D d, E e, F f, G g, H h);
    pub fn spawn_next<C: Children, K: Task, X: Send + 'static, F: FnOnce(C::Values, X) -> K::Args + Send + 'static>(args: C::Args, captured: X, assemble: F) -> Next<Value<K>> where C::Args: 'static {
        Next { run: Box::new(move || K::call(assemble(C::run(args), captured)).finish()) }
    }
}
pub use next::*;
pub fn join<A: FnOnce() -> RA + Send, B: FnOnce() -> RB + Send, RA: Send, RB: Send>(a: A, b: B) -> (RA, RB) { (a(), b()) }
pub fn join_task<T: Task, A: FnOnce() -> RA + Send, RA: Send>(args: T::Args, a: A) -> (RA, Value<T>) { let ra = a(); (ra, T::call(args).finish()) }
pub fn call_task<T: Task>(args: T::Args) -> Value<T> { T::call(args).finish() }
pub struct Handle<T> { value: T }
impl<T> Handle<T> { pub fn sync(self) -> T { self.value } }
pub fn spawn_task<T: Task>(args: T::Args) -> Handle<Value<T>> { Handle { value: T::call(args).finish() } }
pub fn run_main<R: std::process::Termination>(main: fn() -> R) -> std::process::ExitCode { run(move || main().report()) }
/// What the attribute asserts of each argument. Unlike `Portable` it has no supertraits, which would be reported in its place.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of an Atlas task",
    label = "cannot leave this process",
    note = "an argument is owned, `Send`, and implements serde's `Serialize` and `DeserializeOwned`",
    note = "derive them: `#[derive(serde::Serialize, serde::Deserialize)]`; for borrowed data use `atlas::join` or `atlas::scope`"
)]
pub trait Argument {}
#[diagnostic::do_not_recommend]
impl<T: Portable> Argument for T {}
pub struct AssertArgument<T: Argument>(std::marker::PhantomData<T>);

pub fn run<R: Send>(f: impl FnOnce() -> R + Send) -> R { f() }
pub struct Runtime;
impl Runtime {
    pub fn builder() -> Builder { Builder }
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R { f() }
    pub fn workers(&self) -> usize { 1 }
}
pub struct Builder;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct BuildError;
impl Builder {
    pub fn workers(self, _n: usize) -> Self { self }
    pub fn stack_bytes(self, _n: usize) -> Self { self }
    pub fn build(self) -> Result<Runtime, BuildError> { Ok(Runtime) }
}
