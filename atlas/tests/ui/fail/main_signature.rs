mod options {
    #[atlas::main(workers = 4)]
    fn main() {}
}

mod not_main {
    #[atlas::main]
    fn start() {}
}

mod qualifiers {
    #[atlas::main]
    async unsafe extern "C" fn main<T>(n: u64)
    where
        T: Copy,
    {
    }
}

mod item {
    #[atlas::main]
    struct Main;
}

fn main() {}
