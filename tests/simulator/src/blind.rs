//! What people do without evidence: the baselines.

use crate::case::{RecycleStrategy, SimulationCase};
use crate::dns::Millis;
use crate::world::SimulatedWorld;

/// Runs a blind strategy to its end.
pub fn recycle_blindly(case: &SimulationCase, world: &mut SimulatedWorld) {
    match case.strategy {
        RecycleStrategy::Nothing | RecycleStrategy::Steered { .. } => {}
        RecycleStrategy::SignalAll => signal_each(world, 0),
        RecycleStrategy::SignalBlind(gap) => signal_each(world, gap),
        RecycleStrategy::EvictBlind(at_once) => evict_in_batches(world, at_once),
        RecycleStrategy::RollingRestart => roll(case, world),
        RecycleStrategy::Totals => recycle_by_totals(world),
    }
}

fn shuffled_pods(world: &mut SimulatedWorld) -> Vec<usize> {
    let mut pods: Vec<usize> = (0..world.pods.len()).collect();
    world.rng.shuffle(&mut pods);
    pods
}

fn signal_each(world: &mut SimulatedWorld, gap: Millis) {
    for pod in shuffled_pods(world) {
        world.signal(pod);
        let next = world.now + gap;
        while world.now < next {
            world.run_to(next);
        }
    }
    while world.away() > 0 && world.run_to_back() {}
}

fn evict_in_batches(world: &mut SimulatedWorld, at_once: usize) {
    for pod in shuffled_pods(world) {
        while world.away() >= at_once && world.run_to_back() {}
        world.evict(pod);
    }
    while world.away() > 0 && world.run_to_back() {}
}

/// New pods up to 25 % more, old ones away as far as 75 % are ready.
pub(crate) fn roll(case: &SimulationCase, world: &mut SimulatedWorld) {
    let mut old = shuffled_pods(world);
    let surge = case.pods.div_ceil(4);
    let least = case.pods - case.max_unavailable();
    let mut started = 0;
    loop {
        let ready = |world: &SimulatedWorld| world.pods.iter().filter(|p| !p.is_gone).count();
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
fn recycle_by_totals(world: &mut SimulatedWorld) {
    while !world.is_even() && world.now < 3_600_000 {
        let pod = world.rng.usize(..world.pods.len());
        world.signal(pod);
        while world.away() > 0 && world.run_to_back() {}
        let reading = world.rng.u64(1_000..=3_000);
        world.run_to(world.now + reading);
    }
}
