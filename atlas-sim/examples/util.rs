use atlas_proto::ids::NodeId;
use atlas_sim::atlas::Atlas;
use atlas_sim::network::NetworkConfig;
use atlas_sim::scenario::*;
use atlas_sim::workload::*;
use atlas_sim::world::*;
use clap::ValueEnum;
use std::time::Duration;
struct Look {
    next: f64,
    every: f64,
}
impl Observer<Atlas> for Look {
    fn after_event(
        &mut self,
        _t: Option<NodeId>,
        nodes: &Atlas,
        stage: &Stage<<Atlas as Nodes>::Message>,
    ) {
        let now = stage.now().as_secs_f64();
        if now < self.next {
            return;
        }
        self.next = now + self.every;
        let mut busy = 0;
        let mut ready = 0;
        let mut pool = 0;
        let mut work = 0.0;
        let mut hungry = 0;
        let mut maxw: f64 = 0.0;
        let mut idle_dom = 0;
        let mut rich = 0;
        for (i, s) in nodes.servers() {
            let e = stage.engine(i);
            busy += e.running();
            ready += e.ready();
            pool += s.ledger().ready_count();
            let l = s.load();
            work += l.surplus_work.as_secs_f64();
            maxw = maxw.max(l.surplus_work.as_secs_f64());
            hungry += l.hungry;
            if l.surplus > 0 {
                rich += 1;
            }
        }
        for (_, m) in nodes.managers() {
            let l = m.load();
            if l.hungry == l.workers && l.workers > 0 {
                idle_dom += 1;
            }
        }
        let mpool: usize = nodes
            .managers()
            .map(|(_, m)| m.ledger().ready_count())
            .sum();
        println!(
            "{now:7.2} busy {busy} ready {ready} pool {pool} mpool {mpool} rich {rich} surplus_work {work:.0} max {maxw:.1} hungry {hungry} idle_domains {idle_dom} exec {:.0}",
            stage.executed_work().as_secs_f64()
        );
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let shape = Workload::from_str(&a[1], true).unwrap();
    let servers: u32 = a[2].parse().unwrap();
    let levels: u32 = a[3].parse().unwrap();
    let seed: u64 = a[4].parse().unwrap();
    let every: f64 = a[5].parse().unwrap();
    let wps: u64 = a.get(6).map_or(100, |s| s.parse().unwrap());
    let sc = Scenario {
        servers,
        levels,
        workers: 1,
        speeds: Speeds::Equal,
        network: NetworkConfig::default(),
        workload: Some(WorkloadConfig {
            shape,
            total_work: Duration::from_secs(wps) * servers,
            granularity: Duration::from_millis(100),
            args_bytes: 64,
            result_bytes: 16,
            seed,
        }),
        submit: Submit::Root,
        warm_up: Duration::from_secs(2),
        policy: Policy::Atlas,
        seed,
        horizon: Duration::from_secs(1000),
        faults: vec![],
        heal_at: None,
        wire: false,
        borders: vec![],
        steps_after_heal_max: None,
    };
    let mut w = World::new(&sc, None, Atlas::new);
    let r = w.run_observed(&mut Look { next: 0.0, every });
    println!("{:?}", r.job);
}
