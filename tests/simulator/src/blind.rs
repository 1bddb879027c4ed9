//! What people do without evidence: the baselines.

use crate::case::{Case, Strategy};
use crate::dns::Millis;
use crate::world::World;

/// Runs a blind strategy to its end.
pub fn run(case: &Case, world: &mut World) {
    match case.strategy {
        Strategy::Nothing | Strategy::Steered { .. } => {}
        Strategy::SignalAll => signal(world, 0),
        Strategy::SignalBlind(gap) => signal(world, gap),
        Strategy::EvictBlind(at_once) => evict(world, at_once),
        Strategy::RollingRestart => roll(case, world),
        Strategy::Totals => totals(world),
    }
}

fn order(world: &mut World) -> Vec<usize> {
    let mut pods: Vec<usize> = (0..world.pods.len()).collect();
    world.rng.shuffle(&mut pods);
    pods
}

fn signal(world: &mut World, gap: Millis) {
    for pod in order(world) {
        world.signal(pod);
        let next = world.now + gap;
        while world.now < next {
            world.run_to(next);
        }
    }
    while world.away() > 0 && world.run_to_back() {}
}

fn evict(world: &mut World, at_once: usize) {
    for pod in order(world) {
        while world.away() >= at_once && world.run_to_back() {}
        world.evict(pod);
    }
    while world.away() > 0 && world.run_to_back() {}
}

/// New pods up to 25 % more, old ones away as far as 75 % are ready.
pub(crate) fn roll(case: &Case, world: &mut World) {
    let mut old = order(world);
    let surge = case.pods.div_ceil(4);
    let least = case.pods - case.max_unavailable();
    let mut started = 0;
    loop {
        let ready = |world: &World| world.pods.iter().filter(|p| !p.is_gone).count();
        while ready(world) > least
            && let Some(pod) = old.pop()
        {
            world.remove(pod);
        }
        while started < case.pods && old.len() + started < case.pods + surge {
            world.surge();
            started += 1;
            world.tally.busy = world.tally.busy.max(case.max_unavailable());
        }
        if !world.run_to_back() {
            break;
        }
    }
}

/// Acts on totals alone: it knows that readers are uneven, not which pods hold them.
fn totals(world: &mut World) {
    while !world.is_even() && world.now < 3_600_000 {
        let pod = world.rng.usize(..world.pods.len());
        world.signal(pod);
        while world.away() > 0 && world.run_to_back() {}
        let reading = world.rng.u64(1_000..=3_000);
        world.run_to(world.now + reading);
    }
}
