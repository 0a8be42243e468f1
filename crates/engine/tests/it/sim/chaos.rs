//! What befalls processes and the store in phase 1: one task each, so that everything may come at any moment.

use std::sync::Arc;
use std::time::Duration;

use longtake_core::id::Random;
use tokio::task::JoinSet;

use super::SimRandom;
use super::clock::{pause, secs};
use super::faults::Fault;
use super::world::World;

/// Starts the troubles; they end with phase 1.
pub fn begin(world: &Arc<World>, tasks: &mut JoinSet<()>) {
    for place in 0..world.options.engines {
        tasks.spawn(trouble(world.clone(), place, SimRandom::stream(world.options.seed, 200 + place as u64)));
    }
    if world.faults.may(Fault::StoreOutage) {
        tasks.spawn(outages(world.clone(), SimRandom::stream(world.options.seed, 300)));
    }
}

/// To the millisecond, so that it falls between any two steps.
fn some_time(random: &SimRandom, low: u64, high: u64) -> Duration {
    Duration::from_millis(random.between(low * 1_000, high * 1_000))
}

async fn trouble(world: Arc<World>, place: usize, random: SimRandom) {
    while world.faults.are_on() {
        pause(some_time(&random, 10, 500)).await;
        // Each kind draws from its own chance, so that leaving one out leaves the others where they were.
        let kind = [Fault::Crash, Fault::Freeze, Fault::Drain, Fault::ClockSkew][random.below(4) as usize];
        let (down, stopped) = (some_time(&random, 0, 90), some_time(&random, 1, 120));
        if !world.faults.may(kind) {
            continue;
        }
        match kind {
            Fault::Crash => {
                world.crash(place);
                pause(down).await;
                world.start(place).await;
            }
            Fault::Drain => {
                world.drain(place).await;
                pause(down).await;
                if !world.is_running(place) {
                    world.start(place).await;
                }
            }
            Fault::Freeze => {
                if let Some((gate, _)) = world.process(place).filter(|(gate, _)| !gate.is_frozen()) {
                    world.trace.log(format_args!("e{place} stopped for {stopped:?}"));
                    gate.freeze_for(stopped);
                    pause(stopped + secs(1)).await;
                }
            }
            _ => {
                if let Some((_, clock)) = world.process(place) {
                    let off = i64::try_from(random.below(7_200)).unwrap_or(0) - 3_600;
                    world.trace.log(format_args!("e{place} clock jumps to {off} s off"));
                    clock.skew(off * 1_000_000);
                }
            }
        }
    }
}

async fn outages(world: Arc<World>, random: SimRandom) {
    while world.faults.are_on() {
        pause(some_time(&random, 60, 1_200)).await;
        world.trace.log(format_args!("store away"));
        world.database.set_out(true);
        pause(some_time(&random, 1, 60)).await;
        world.database.set_out(false);
        world.trace.log(format_args!("store back"));
    }
}
