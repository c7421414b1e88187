//! Faults that only hurt together: each recipe walks along one edge of the protocol, with the moments drawn.

use bellwether::cluster::Durability;

use super::clock::{MS, SECOND, Time};
use super::faults::{Target, What};
use super::network::Party;
use super::random::Random;

/// One fault of a recipe: from, for how long, what.
pub type Step = (Time, Time, What);

/// What a recipe is cooked from.
#[derive(Clone, Copy, Debug)]
pub struct Kitchen {
    /// When it begins.
    pub at: Time,
    pub processes: usize,
    pub nodes: usize,
    pub durability: Durability,
}

/// Each walks along another edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    DeafProxy,
    LastReading,
    NewbornProxy,
    TwoOfAName,
    CoordinatorAsleep,
    Minority,
    UnevenVoters,
    RestartedAlone,
    RuleInMotion,
    VoterReturns,
    LatePromotion,
    UnshownProxy,
    LaggingSwitchover,
}

impl Recipe {
    /// All of them.
    pub const ALL: &[Recipe] = &[
        Recipe::DeafProxy,
        Recipe::LastReading,
        Recipe::NewbornProxy,
        Recipe::TwoOfAName,
        Recipe::CoordinatorAsleep,
        Recipe::Minority,
        Recipe::UnevenVoters,
        Recipe::RestartedAlone,
        Recipe::RuleInMotion,
        Recipe::VoterReturns,
        Recipe::LatePromotion,
        Recipe::UnshownProxy,
        Recipe::LaggingSwitchover,
    ];

    /// Whether a cluster can show what the recipe is about.
    pub fn fits(self, nodes: usize, durability: Durability) -> bool {
        let synchronous = durability != Durability::Async;
        match self {
            Recipe::LastReading | Recipe::Minority | Recipe::RestartedAlone => synchronous,
            Recipe::UnevenVoters | Recipe::RuleInMotion | Recipe::VoterReturns => synchronous && nodes > 2,
            Recipe::LatePromotion => nodes > 2,
            _ => true,
        }
    }
}

impl Kitchen {
    /// Chooses one of the recipes that fit.
    pub fn choose(self, random: &mut Random) -> Recipe {
        let fits = |recipe: &&Recipe| recipe.fits(self.nodes, self.durability);
        let fitting: Vec<Recipe> = Recipe::ALL.iter().filter(fits).copied().collect();
        random.pick(&fitting)
    }

    /// Cooks it.
    pub fn cook(self, recipe: Recipe, random: &mut Random) -> Vec<Step> {
        match recipe {
            Recipe::DeafProxy => self.deaf_proxy(random),
            Recipe::LastReading => self.last_reading(random),
            Recipe::NewbornProxy => self.newborn_proxy(random),
            Recipe::TwoOfAName => self.two_of_a_name(random),
            Recipe::CoordinatorAsleep => self.coordinator_asleep(random),
            Recipe::Minority => self.minority(random),
            Recipe::UnevenVoters => self.uneven_voters(random),
            Recipe::RestartedAlone => self.restarted_alone(random),
            Recipe::RuleInMotion => self.rule_in_motion(random),
            Recipe::VoterReturns => self.voter_returns(random),
            Recipe::LatePromotion => self.late_promotion(random),
            Recipe::UnshownProxy => self.unshown_proxy(random),
            Recipe::LaggingSwitchover => self.lagging_switchover(random),
        }
    }

    fn process(self, random: &mut Random) -> usize {
        random.index(self.processes)
    }

    fn standby(self, random: &mut Random) -> usize {
        1 + random.index(self.nodes - 1)
    }

    fn leader_goes(self, random: &mut Random) -> What {
        random.pick(&[What::PostmasterDies(Target::Leader), What::HostDies(Target::Leader)])
    }

    /// A proxy hears its last answer late, and then nothing more.
    fn deaf_proxy(self, random: &mut Random) -> Vec<Step> {
        let process = self.process(random);
        let deaf = random.pick(&[
            What::Isolated(Party::Process(process), true, true),
            What::Cut(Party::Store, Party::Process(process)),
            What::ProcessFreezes(process),
        ]);
        let slow = What::Slow(Party::Process(process), random.pick(&[MS, 100 * MS, 400 * MS]));
        let silent = self.at + random.between(0..900 * MS);
        vec![
            (self.at - SECOND, 8 * SECOND, slow),
            (self.at, 7 * SECOND, self.leader_goes(random)),
            (silent, 7 * SECOND, deaf),
        ]
    }

    /// What a proxy reads just before the freeze is the last it hears of anybody.
    fn last_reading(self, random: &mut Random) -> Vec<Step> {
        let process = self.process(random);
        let goes = self.at + random.between(0..500 * MS);
        vec![
            (self.at - SECOND, 9 * SECOND, What::DeafOnceFrozen(process)),
            (goes, 7 * SECOND, self.leader_goes(random)),
        ]
    }

    /// A proxy has read the term and is cut off before its grant is written.
    fn newborn_proxy(self, random: &mut Random) -> Vec<Step> {
        let process = self.process(random);
        let born = self.at + 600 * MS;
        vec![
            (self.at - 300 * MS, 900 * MS, What::ProcessDies(process)),
            (self.at, 2 * SECOND, What::Slow(Party::Process(process), 400 * MS)),
            (
                born + random.between(0..800 * MS),
                5 * SECOND,
                What::Isolated(Party::Process(process), true, true),
            ),
            (born + random.between(0..1500 * MS), 4 * SECOND, self.leader_goes(random)),
        ]
    }

    /// A proxy is started anew elsewhere while the one before it still runs, out of reach.
    fn two_of_a_name(self, random: &mut Random) -> Vec<Step> {
        let process = self.process(random);
        let lasts = 6 * SECOND;
        vec![
            (self.at, lasts, What::Doubled(process)),
            (self.at + random.between(0..2500 * MS), 3 * SECOND, self.leader_goes(random)),
        ]
    }

    /// The active coordinator stops in the middle of a failover, and wakes with a view of the past.
    fn coordinator_asleep(self, random: &mut Random) -> Vec<Step> {
        let sleeps = self.at + random.between(0..1200 * MS);
        let lasts = SECOND + random.between(0..4 * SECOND);
        let slow =
            What::Slow(random.pick(&[Party::Store, Party::Node(1)]), random.pick(&[30 * MS, 400 * MS]));
        vec![
            (self.at, 5 * SECOND, self.leader_goes(random)),
            (sleeps, lasts, What::CoordinatorFreezes),
            (self.at, 3 * SECOND, slow),
        ]
    }

    /// One proxy still sees the leader and no longer the store; the others see it the other way round.
    fn minority(self, random: &mut Random) -> Vec<Step> {
        let process = self.process(random);
        let lasts = 3 * SECOND + random.between(0..3 * SECOND);
        let mut steps: Vec<Step> = (0..self.processes)
            .filter(|other| *other != process)
            .map(|other| (self.at, lasts, What::Unseen(Target::Leader, other)))
            .collect();
        steps.push((
            self.at + random.between(0..400 * MS),
            lasts,
            What::Cut(Party::Store, Party::Process(process)),
        ));
        let lagging = self.standby(random);
        steps.push((self.at - 200 * MS, lasts, What::ReplayStalls(Target::Node(lagging))));
        steps
    }

    /// One voter has less than the other, which is restarted, or gone together with the leader.
    fn uneven_voters(self, random: &mut Random) -> Vec<Step> {
        let behind = self.standby(random);
        let other = 1 + behind % (self.nodes - 1);
        let lasts = 4 * SECOND + random.between(0..3 * SECOND);
        let mut steps = vec![
            (self.at - 500 * MS, lasts, What::WalTrickles(Target::Node(behind), random.pick(&[300, 20_000]))),
            (self.at, lasts, What::HostDies(Target::Leader)),
        ];
        match random.between(0..3) {
            0 => steps.push((
                self.at + random.between(0..100 * MS),
                lasts,
                What::HostDies(Target::Node(other)),
            )),
            1 => steps.push((
                self.at + random.between(0..50 * MS),
                MS,
                What::PostmasterRestarts(Target::Node(other)),
            )),
            _ => {}
        }
        steps
    }

    /// The leader is restarted while its last commits are nowhere else.
    fn restarted_alone(self, random: &mut Random) -> Vec<Step> {
        let lasts = SECOND + random.between(0..3 * SECOND);
        let mut steps: Vec<Step> = (1..self.nodes)
            .map(|node| (self.at, lasts, What::Cut(Party::Node(0), Party::Node(node))))
            .collect();
        let restart = self.at + random.between(50 * MS..700 * MS);
        steps.push((restart, MS, What::PostmasterRestarts(Target::Node(0))));
        steps
    }

    /// A voter is lost and comes back, and the leader goes while the rule is on its way.
    fn rule_in_motion(self, random: &mut Random) -> Vec<Step> {
        let voter = self.standby(random);
        let back = 3500 * MS + random.between(0..SECOND);
        let goes = if random.chance(50) { back } else { 3000 * MS } + random.between(0..800 * MS);
        vec![
            (self.at, back, What::Isolated(Party::Node(voter), true, true)),
            (self.at + goes - 200 * MS, SECOND, What::CoordinatorDiesAtStep(random.between(0..3))),
            (self.at + goes, 4 * SECOND, What::HostDies(Target::Leader)),
        ]
    }

    /// A voter that was lost comes back, and goes again with the leader while the rule is on its way to it.
    fn voter_returns(self, random: &mut Random) -> Vec<Step> {
        let voter = self.standby(random);
        let other = 1 + voter % (self.nodes - 1);
        let back = 3500 * MS + random.between(0..SECOND);
        let goes = self.at + back + random.between(0..1500 * MS);
        vec![
            (self.at, back, What::Isolated(Party::Node(voter), true, true)),
            (self.at + back - 200 * MS, 4 * SECOND, What::WalTrickles(Target::Node(other), 300)),
            (goes, 5 * SECOND, What::HostDies(Target::Leader)),
            (goes + random.between(0..20 * MS), 5 * SECOND, What::HostDies(Target::Node(voter))),
        ]
    }

    /// A candidate is given up and promoted after all, from where the next one is promoted.
    fn late_promotion(self, random: &mut Random) -> Vec<Step> {
        let lasts = 3500 * MS + random.between(0..1500 * MS);
        let mut steps: Vec<Step> = (1..self.nodes)
            .map(|node| (self.at - 100 * MS, lasts, What::PromotionSlow(Target::Node(node), 6 * SECOND)))
            .collect();
        steps.push((self.at, 9 * SECOND, What::HostDies(Target::Leader)));
        steps
    }

    /// A proxy that works and is taken to be gone, as nothing it shows gets through.
    fn unshown_proxy(self, random: &mut Random) -> Vec<Step> {
        let process = self.process(random);
        let evicted = self.at + 10 * SECOND;
        vec![
            (self.at, 14 * SECOND, What::Unshown(process)),
            (
                evicted + random.between(0..SECOND),
                5 * SECOND,
                What::Isolated(Party::Process(process), true, true),
            ),
            (evicted + random.between(0..SECOND), 5 * SECOND, self.leader_goes(random)),
        ]
    }

    /// The candidate of a switchover has something to catch up with.
    fn lagging_switchover(self, random: &mut Random) -> Vec<Step> {
        let candidate = self.standby(random);
        let lasts = SECOND + random.between(0..2 * SECOND);
        vec![
            (
                self.at - random.between(100 * MS..800 * MS),
                lasts,
                What::WalTrickles(Target::Node(candidate), random.pick(&[300, 20_000])),
            ),
            (self.at, SECOND, What::Switchover(Some(candidate))),
        ]
    }
}
