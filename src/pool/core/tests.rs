//! Small cases of the accounting, and long random runs against a model that knows only lists.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits {
        size: 3,
        min: 1,
        reserve: 2,
        reserve_after: SECOND,
        checkout_timeout: 30 * SECOND,
        idle_timeout: 600 * SECOND,
        check_after_idle: 20 * SECOND,
    }
}

/// Opens `server` at `home` and takes note that it connected.
fn connect(core: &mut Core<u32>, server: u32, home: usize, now: Instant) -> Put<u32> {
    let lease = core.begin_connect(Home(home));
    core.connected(server, lease, now)
}

fn taken(core: &mut Core<u32>, home: usize, now: Instant) -> Option<(u32, Lease)> {
    match core.take(Home(home), now, true) {
        Taken::Fresh(server, lease) => Some((server, lease)),
        _ => None,
    }
}

fn wait(core: &mut Core<u32>, ticket: u32, now: Instant) {
    core.enqueue(Ticket(ticket), Home(0), Patience::Wait, now);
}

#[test]
fn the_last_released_at_home_goes_first() {
    let (mut core, now) = (Core::new(limits()), Instant::now());
    for (server, home) in [(1, 0), (2, 0), (3, 1)] {
        assert_eq!(connect(&mut core, server, home, now), Put::Idle);
    }
    let order = [1, 0, 1].map(|home| taken(&mut core, home, now).map(|(server, _)| server));
    assert_eq!(order, [Some(3), Some(2), Some(1)], "any idle server is better than none");
    assert_eq!(core.take(Home(0), now, true), Taken::Wait);
    assert_eq!(core.counts(), Counts { in_use: 3, ..Counts::default() });
}

#[test]
fn waiters_are_served_in_order_and_nobody_overtakes() {
    let (mut core, now) = (Core::new(limits()), Instant::now());
    connect(&mut core, 1, 0, now);
    let (server, lease) = taken(&mut core, 0, now).expect("one is idle");
    (10..14).for_each(|ticket| wait(&mut core, ticket, now));
    core.forget(Ticket(11));
    core.forget(Ticket(99));
    for ticket in [10, 12, 13] {
        assert_eq!(core.take(Home(0), now, false), Taken::Wait);
        assert_eq!(core.put(server, lease, now), Put::HandTo(Ticket(ticket), server, lease));
    }
    assert_eq!(core.put(server, lease, now), Put::Idle);
}

#[test]
fn connections_are_wanted_for_waiters_only_and_the_reserve_only_after_a_while() {
    let (mut core, now) = (Core::new(limits()), Instant::now());
    assert_eq!(core.wants_connect(now), None);
    (0..9).for_each(|ticket| wait(&mut core, ticket, now));
    for _ in 0..3 {
        let home = core.wants_connect(now).expect("below the size");
        core.begin_connect(home);
    }
    assert_eq!(core.wants_connect(now), None);
    let later = now + SECOND;
    for _ in 0..2 {
        core.begin_connect(core.wants_connect(later).expect("the reserve is open"));
    }
    assert_eq!(core.wants_connect(later + 9 * SECOND), None);
}

#[test]
fn a_failure_of_the_login_ends_all_waits_and_one_of_the_node_only_hasty_ones() {
    let (mut core, now) = (Core::<u32>::new(limits()), Instant::now());
    wait(&mut core, 1, now);
    core.enqueue(Ticket(2), Home(0), Patience::FailFast, now);
    core.begin_connect(Home(0));
    core.begin_connect(Home(0));
    assert_eq!(core.connect_failed(false, now), [Ticket(2)]);
    let first_pause = core.retry_at().expect("a pause");
    assert!(core.is_pausing(now) && core.wants_connect(now).is_none());
    assert_eq!(core.connect_failed(false, now), []);
    assert_eq!(core.retry_at(), Some(first_pause), "attempts under way together count once");

    wait(&mut core, 3, now);
    core.begin_connect(core.wants_connect(first_pause).expect("the pause is over"));
    assert_eq!(core.wants_connect(first_pause), None, "one attempt at a time");
    core.connect_failed(false, first_pause);
    let second_pause = core.retry_at().expect("a pause");
    assert!(second_pause - first_pause > first_pause - now, "pauses grow");

    core.begin_connect(core.wants_connect(second_pause).expect("the pause is over"));
    assert_eq!(core.connect_failed(true, second_pause), [Ticket(1), Ticket(3)]);
    assert_eq!(core.counts(), Counts::default());
}

#[test]
fn what_is_retired_or_too_old_ends_at_its_release() {
    let (mut core, now) = (Core::new(limits()), Instant::now());
    let lease = core.begin_connect(Home(0)).until(Some(now + SECOND));
    core.connected(1, lease, now);
    connect(&mut core, 2, 0, now);
    connect(&mut core, 3, 0, now);
    let (_, lease3) = taken(&mut core, 0, now).expect("idle");
    let late = core.begin_connect(Home(0));
    assert_eq!(core.retire_all(), [1, 2]);
    assert_eq!(core.put(3, lease3, now), Put::Close(3));
    assert_eq!(core.connected(4, late, now), Put::Close(4), "begun before");

    let lease = core.begin_connect(Home(0)).until(Some(now + SECOND));
    assert_eq!(core.connected(5, lease, now), Put::Idle);
    assert!(taken(&mut core, 0, now).is_some());
    assert_eq!(core.put(5, lease, now + SECOND), Put::Close(5));
    assert_eq!(core.counts(), Counts::default());
}

#[test]
fn the_clock_ends_waits_lives_and_idleness() {
    let (mut core, now) = (Core::new(limits()), Instant::now());
    let young = core.begin_connect(Home(0)).until(Some(now + 100 * SECOND));
    core.connected(1, young, now);
    for server in 2..=5 {
        connect(&mut core, server, 0, now + SECOND);
    }
    let due = core.tick(now + 3 * SECOND);
    assert_eq!(due.close, [(1, CloseReason::Excess), (2, CloseReason::Excess)]);
    assert_eq!(core.take(Home(0), now + 30 * SECOND, true), Taken::Wait, "needs a check");
    let Taken::Check(5, lease) = core.take(Home(0), now + 30 * SECOND, false) else { panic!("not 5") };
    core.put(5, lease, now + 30 * SECOND);
    assert_eq!(core.drop_unchecked(now + 30 * SECOND), [3, 4]);

    connect(&mut core, 6, 0, now + 40 * SECOND);
    let due = core.tick(now + 900 * SECOND);
    assert_eq!(due.close, [(5, CloseReason::Idle)], "one is kept");
    assert_eq!(core.evict(), Some(6));
    assert!(core.wants_upkeep(now));

    wait(&mut core, 1, now);
    wait(&mut core, 2, now + SECOND);
    assert_eq!(core.tick(now + 30 * SECOND).timed_out, [Ticket(1)]);
    assert_eq!(core.waiting_since(), Some(now + SECOND));
    assert_eq!(core.fail_all(), [Ticket(2)]);
}

/// What a shell would hold, and what must be true of it.
struct World {
    rng: fastrand::Rng,
    core: Core<u32>,
    now: Instant,
    limits: Limits,
    next: u32,
    generation: u32,
    /// Server, lease, generation it was begun in.
    in_use: Vec<(u32, Lease, u32)>,
    idle: Vec<(u32, u32)>,
    connecting: Vec<(Lease, u32)>,
    waiting: VecDeque<(Ticket, Instant, Patience)>,
    served: usize,
    reserve_used: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let limits = Limits {
            size: rng.usize(1..6),
            min: rng.usize(0..3),
            reserve: rng.usize(0..3),
            idle_timeout: rng.u32(1..60) * SECOND,
            checkout_timeout: rng.u32(2..30) * SECOND,
            ..limits()
        };
        World {
            rng,
            core: Core::new(limits),
            now: Instant::now(),
            limits,
            next: 0,
            generation: 0,
            in_use: Vec::new(),
            idle: Vec::new(),
            connecting: Vec::new(),
            waiting: VecDeque::new(),
            served: 0,
            reserve_used: false,
        }
    }

    fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..30 => self.arrive(),
            30..55 => self.release(),
            55..60 => self.lose_one_in_use(),
            60..75 => self.finish_connecting(),
            75..80 => self.go_away(),
            80..95 => self.now += Duration::from_millis(self.rng.u64(1..900)),
            95..98 => self.tick(),
            98 => self.evict(),
            _ => self.retire(),
        }
        self.pump();
        self.check();
    }

    fn arrive(&mut self) {
        match self.core.take(Home(0), self.now, self.rng.bool()) {
            Taken::Fresh(server, lease) | Taken::Check(server, lease) => {
                assert!(self.waiting.is_empty(), "nobody overtakes");
                let index = self.idle.iter().position(|idle| idle.0 == server).expect("it was idle");
                assert_eq!(index, self.idle.len() - 1, "last in, first out");
                let (_, generation) = self.idle.remove(index);
                assert_eq!(generation, self.generation, "retired servers are not given out");
                self.in_use.push((server, lease, generation));
                self.served += 1;
            }
            Taken::Wait => {
                let (ticket, patience) =
                    (Ticket(self.next), if self.rng.bool() { Patience::Wait } else { Patience::FailFast });
                self.next += 1;
                self.core.enqueue(ticket, Home(0), patience, self.now);
                self.waiting.push_back((ticket, self.now, patience));
            }
        }
    }

    fn put(&mut self, put: Put<u32>, server: u32, generation: u32) {
        match put {
            Put::Idle => {
                assert!(self.waiting.is_empty(), "a waiter was left out");
                assert_eq!(generation, self.generation);
                self.idle.push((server, generation));
            }
            Put::HandTo(ticket, handed, lease) => {
                let first = self.waiting.pop_front().expect("somebody waits");
                assert_eq!((ticket, handed), (first.0, server), "first come, first served");
                assert_eq!(generation, self.generation);
                self.in_use.push((server, lease, generation));
                self.served += 1;
            }
            Put::Close(closed) => assert_eq!(closed, server),
        }
    }

    fn release(&mut self) {
        if let Some((server, lease, generation)) = self.pick_in_use() {
            let put = self.core.put(server, lease, self.now);
            self.put(put, server, generation);
        }
    }

    fn lose_one_in_use(&mut self) {
        if self.pick_in_use().is_some() {
            self.core.closed();
        }
    }

    fn pick_in_use(&mut self) -> Option<(u32, Lease, u32)> {
        let index = self.rng.usize(0..self.in_use.len().max(1));
        (index < self.in_use.len()).then(|| self.in_use.swap_remove(index))
    }

    fn finish_connecting(&mut self) {
        let Some((lease, generation)) = self.connecting.pop() else { return };
        match self.rng.u32(0..10) {
            0 | 1 => {
                let permanent = self.rng.bool();
                let failed = self.core.connect_failed(permanent, self.now);
                let told = |patience| permanent || patience == Patience::FailFast;
                self.take_out(&failed, |(_, _, patience)| told(*patience));
            }
            _ => {
                let (server, lifetime) = (self.next, self.rng.u32(1..90) * SECOND);
                self.next += 1;
                let lease = lease.until(Some(self.now + lifetime));
                let put = self.core.connected(server, lease, self.now);
                self.put(put, server, generation);
            }
        }
    }

    fn go_away(&mut self) {
        let index = self.rng.usize(0..self.waiting.len().max(1));
        if let Some((ticket, ..)) = self.waiting.remove(index) {
            self.core.forget(ticket);
        }
    }

    fn tick(&mut self) {
        let due = self.core.tick(self.now);
        let (now, timeout) = (self.now, self.limits.checkout_timeout);
        self.take_out(&due.timed_out, |(_, since, _)| now - *since >= timeout);
        for (server, _) in due.close {
            let before = self.idle.len();
            self.idle.retain(|idle| idle.0 != server);
            assert_eq!(self.idle.len() + 1, before);
        }
    }

    fn evict(&mut self) {
        let evicted = self.core.evict();
        assert_eq!(evicted, (!self.idle.is_empty()).then(|| self.idle.remove(0).0), "idle for longest");
    }

    fn retire(&mut self) {
        let closed = self.core.retire_all();
        assert_eq!(closed, self.idle.drain(..).map(|idle| idle.0).collect::<Vec<_>>());
        self.generation += 1;
    }

    fn take_out(&mut self, told: &[Ticket], expected: impl Fn(&(Ticket, Instant, Patience)) -> bool) {
        let (out, left): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(expected);
        assert_eq!(told, out.iter().map(|waiter| waiter.0).collect::<Vec<_>>());
        self.waiting = left.into();
    }

    fn pump(&mut self) {
        while let Some(home) = self.core.wants_connect(self.now) {
            let total = self.in_use.len() + self.idle.len() + self.connecting.len();
            assert!(self.connecting.len() < self.waiting.len(), "one attempt a waiter is enough");
            if total >= self.limits.size {
                let first_waits_for = self.now - self.waiting[0].1;
                assert!(first_waits_for >= self.limits.reserve_after, "the reserve is for long waits");
                self.reserve_used = true;
            }
            self.connecting.push((self.core.begin_connect(home), self.generation));
        }
    }

    fn check(&self) {
        let counts = Counts {
            idle: self.idle.len(),
            in_use: self.in_use.len(),
            connecting: self.connecting.len(),
            waiting: self.waiting.len(),
        };
        assert_eq!(self.core.counts(), counts);
        let total = counts.idle + counts.in_use + counts.connecting;
        assert!(total <= self.limits.size + self.limits.reserve);
        assert!(counts.waiting == 0 || counts.idle == 0, "somebody waits beside an idle server");
        let unserved = counts.waiting > counts.connecting;
        let held = self.core.is_pausing(self.now) || counts.connecting > 0 && self.core.retry_at().is_some();
        assert!(!unserved || held || total >= self.limits.size, "a waiter was left without a connection");
    }
}

#[test]
fn long_random_runs_keep_the_promises() {
    let (mut served, mut reserve_used, mut retired) = (0, 0, 0);
    for seed in 0..400 {
        let mut world = World::new(seed);
        (0..600).for_each(|_| world.step());
        served += world.served;
        reserve_used += usize::from(world.reserve_used);
        retired += world.generation;
    }
    // A run in which nothing happens tests nothing.
    assert!(served > 10_000 && reserve_used > 50 && retired > 500, "{served} {reserve_used} {retired}");
}
