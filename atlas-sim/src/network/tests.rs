use super::*;

/// Root manager 0, managers 1 and 2, servers 3 and 4 below 1, servers 5 and 6 below 2.
fn world(config: NetworkConfig, seed: u64) -> Network {
    Network::new(Arc::new(Topology::new(4, 2)), config, seed)
}

/// Sends all at their times, and returns who arrives when, in the order of time.
fn deliver(network: &mut Network, messages: &[(u64, u64, u64, u64)]) -> Vec<(Time, u64, u64)> {
    let mut queue = crate::queue::Queue::new(0);
    for &(at, from, to, bytes) in messages {
        queue.push(
            Time(at),
            (Transit::new(NodeId(from), NodeId(to), bytes), false),
        );
    }
    let mut arrived = Vec::new();
    while let Some((now, crate::queue::Next::Event((transit, last)))) = queue.pop() {
        if last {
            arrived.push((now, transit.from.0, transit.to.0));
            continue;
        }
        match network.forward(now, transit) {
            Hop::Gateway(transit, at) => queue.push(at, (transit, false)),
            Hop::Receiver(first, again) => {
                queue.push(first, (transit, true));
                again
                    .into_iter()
                    .for_each(|again| queue.push(again, (transit, true)));
            }
            Hop::Lost => {}
        }
    }
    arrived
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn latencies_of_the_links_on_the_way_add() {
    let network = world(NetworkConfig::default(), 1);
    let latency = |one, other| network.path(NodeId(one), NodeId(other)).latency;
    assert_eq!(latency(3, 4), Duration::from_micros(200));
    assert_eq!(latency(3, 1), Duration::from_micros(200));
    assert_eq!(latency(1, 0), Duration::from_micros(50_200));
    assert_eq!(latency(3, 6), Duration::from_micros(100_200));
    assert_eq!(network.path(NodeId(3), NodeId(6)).bytes_per_s, 12_500_000);
}

#[test]
fn a_lone_message_takes_what_its_path_says() {
    let mut network = world(NetworkConfig::default(), 1);
    let arrived = deliver(&mut network, &[(0, 3, 4, 125), (0, 3, 6, 0)]);
    assert_eq!(arrived, [(Time(201_000), 3, 4), (Time(100_201_000), 3, 6)]);
}

#[test]
fn an_uplink_carries_one_message_after_the_other() {
    let mut network = world(NetworkConfig::default(), 1);
    // 1.25 MB are 10 ms on each port and 100 ms on each uplink; both senders share the first uplink.
    let arrived = deliver(&mut network, &[(0, 3, 5, 1_250_000), (0, 4, 6, 1_250_000)]);
    let lone = millis(10 + 100 + 50 + 100 + 50 + 10) + Duration::from_micros(200);
    assert_eq!(
        arrived,
        [
            (Time::ZERO + lone, 3, 5),
            (Time::ZERO + lone + millis(100), 4, 6)
        ]
    );
}

#[test]
fn a_message_from_afar_does_not_hold_the_ports_it_has_not_reached() {
    let mut network = world(NetworkConfig::default(), 1);
    let arrived = deliver(&mut network, &[(0, 3, 6, 1_250_000), (1, 5, 6, 0)]);
    assert_eq!(arrived[0], (Time(200_001), 5, 6));
}

#[test]
fn a_cut_loses_what_reaches_it_and_nothing_else() {
    let cut = |what, from, until| Cut {
        what,
        from: millis(from),
        until: millis(until),
    };
    let cuts = vec![
        cut(CutWhat::Uplink(2), 10, 60),
        cut(CutWhat::Pair(4, 3), 0, 1),
    ];
    let config = NetworkConfig {
        cuts,
        ..NetworkConfig::default()
    };
    let mut network = world(config, 1);
    let (ms, far) = (1_000_000, 100_200_000);
    let arrived = deliver(
        &mut network,
        &[
            (0, 3, 5, 0),
            (20 * ms, 3, 5, 0),
            (0, 3, 4, 0),
            (ms, 3, 4, 0),
            (0, 5, 6, 0),
        ],
    );
    // The first reaches the second uplink at 50 ms, while it is cut; the second at 70 ms.
    assert_eq!(
        arrived,
        [
            (Time(200_000), 5, 6),
            (Time(1_200_000), 3, 4),
            (Time(20 * ms + far), 3, 5)
        ]
    );
}

fn lossy() -> NetworkConfig {
    let mut config = NetworkConfig::default();
    for link in config.links_mut() {
        link.loss_ppm = 100_000;
        link.duplication_ppm = 100_000;
        link.reordering_ppm = 300_000;
        link.held_up_max = millis(5);
    }
    config
}

#[test]
fn one_seed_gives_one_order() {
    let messages: Vec<_> = (0..500)
        .map(|n| (n * 10_000, 3 + n % 4, 3 + (n / 4 + n + 1) % 4, 100))
        .collect();
    let run = |seed| deliver(&mut world(lossy(), seed), &messages);
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn messages_are_lost_doubled_and_overtaken_as_often_as_configured() {
    let messages: Vec<_> = (0..10_000).map(|n| (n * 1_000_000, 3, 4, n)).collect();
    let arrived = deliver(&mut world(lossy(), 3), &messages);
    // A tenth is lost, a tenth of the rest arrives twice.
    assert!(
        (9_700..10_100).contains(&arrived.len()),
        "{}",
        arrived.len()
    );
}

#[test]
fn a_healed_network_loses_nothing() {
    let mut config = lossy();
    config.cuts = vec![Cut {
        what: CutWhat::Uplink(1),
        from: millis(0),
        until: millis(u64::MAX >> 32),
    }];
    let mut network = world(config, 1);
    network.heal();
    let messages: Vec<_> = (0..100).map(|n| (n, 3, 6, n)).collect();
    assert_eq!(deliver(&mut network, &messages).len(), 100);
}
