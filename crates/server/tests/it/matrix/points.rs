//! The crash points: where they are, and how a victim comes to stand there, frozen.
//!
//! Most are failpoints in the binary (`LONGTAKE_FAILPOINT=NAME:1:stop`): the process freezes itself, so that whatever goes
//! wrong next goes wrong exactly there. C6, C9 and C19 are reached from outside.

use std::time::Duration;

use longtake_testing::sim::Faults;

use super::stage::Stage;
use crate::fleet::until;

/// Longest time until a victim stands where it shall.
const REACH_BOUND: Duration = Duration::from_secs(45);
/// How long the vendor keeps its answer to itself while a victim waits for it (C6, C19).
pub const SLOW_ANSWER_MS: u64 = 4_000;
/// The same for C19, whose victim has to live to see it.
pub const DRAINED_ANSWER_MS: u64 = 1_500;

/// A point of the crash matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    C1,
    C2,
    C3,
    C4Before,
    C4After,
    C5,
    C6,
    C7,
    C8,
    C9,
    C10Before,
    C10After,
    C11,
    C12,
    /// Parts of the copy lie in the bucket, and are no object yet.
    C12Parts,
    C13,
    C14,
    C15,
    C16,
    C17,
    C18,
    C19,
}

impl Point {
    pub const ALL: [Self; 22] = [
        Self::C1,
        Self::C2,
        Self::C3,
        Self::C4Before,
        Self::C4After,
        Self::C5,
        Self::C6,
        Self::C7,
        Self::C8,
        Self::C9,
        Self::C10Before,
        Self::C10After,
        Self::C11,
        Self::C12,
        Self::C12Parts,
        Self::C13,
        Self::C14,
        Self::C15,
        Self::C16,
        Self::C17,
        Self::C18,
        Self::C19,
    ];

    /// The failpoint, where it is one.
    pub const fn failpoint(self) -> Option<&'static str> {
        Some(match self {
            Self::C1 => "C1",
            Self::C2 => "C2",
            Self::C3 => "C3",
            Self::C4Before => "C4.before",
            Self::C4After => "C4.after",
            Self::C5 => "C5",
            // A cancel and a retry meet a submission that was answered and not recorded.
            Self::C7 | Self::C18 => "C7",
            Self::C8 => "C8",
            Self::C10Before => "C10.before",
            Self::C10After => "C10.after",
            Self::C11 => "C11",
            Self::C12 => "C12",
            Self::C12Parts => "C12.parts",
            Self::C13 => "C13",
            Self::C14 => "C14",
            Self::C15 => "C15",
            Self::C16 => "C16",
            Self::C17 => "C17",
            Self::C6 | Self::C9 | Self::C19 => return None,
        })
    }

    /// Whether the node that takes creates, or callbacks, is hit, and not one that drives.
    pub const fn is_of_api(self) -> bool {
        matches!(self, Self::C1 | Self::C2) || self.is_of_callbacks()
    }

    /// Whether a callback is taken in there.
    pub const fn is_of_callbacks(self) -> bool {
        matches!(self, Self::C10Before | Self::C10After)
    }

    /// A kill here leaves a submission whose outcome only the provider knows.
    pub const fn leaves_doubt(self) -> bool {
        matches!(
            self,
            Self::C4Before
                | Self::C4After
                | Self::C5
                | Self::C6
                | Self::C7
                | Self::C8
                | Self::C15
                | Self::C16
                | Self::C18
                | Self::C19
        )
    }

    /// Reached only by a video that the vendor is known to have accepted.
    pub const fn is_after_acceptance(self) -> bool {
        matches!(
            self,
            Self::C9
                | Self::C10Before
                | Self::C10After
                | Self::C11
                | Self::C12
                | Self::C12Parts
                | Self::C13
                | Self::C14
                | Self::C17
        )
    }

    /// How long the vendor works on a video.
    pub const fn duration_ms(self) -> u32 {
        match self {
            Self::C9 | Self::C17 => 6_000,
            _ => 500,
        }
    }

    /// Faults of the vendor that bring the victim here.
    pub fn prepare(self, faults: &mut Faults) {
        match self {
            Self::C6 => faults.answer_delay_ms = SLOW_ANSWER_MS,
            Self::C19 => faults.answer_delay_ms = DRAINED_ANSWER_MS,
            _ => {}
        }
    }

    /// Brings the victim to the point; it is frozen there when this returns.
    pub async fn reach(self, stage: &mut Stage) -> Result<(), String> {
        let frozen = self.failpoint().map(|name| format!("{name}:1:stop"));
        let environment: Vec<(&str, &str)> = frozen.iter().map(|text| ("LONGTAKE_FAILPOINT", text.as_str())).collect();
        match self {
            Self::C1 | Self::C2 => {
                stage.start_others().await?;
                stage.start_victim(&environment).await?;
                // First in line, so that a create comes by.
                stage.client.add(stage.victim.url());
                stage.create_all();
            }
            Self::C10Before | Self::C10After => {
                stage.start_others().await?;
                stage.start_victim(&environment).await?;
                stage.call_victim_back();
                stage.create_all();
            }
            Self::C17 => {
                // Somebody must have died for a reaper to have something to do.
                stage.start_first().await?;
                stage.create_all();
                stage.until_running().await?;
                stage.first.kill();
                stage.start_victim(&environment).await?;
            }
            _ => {
                stage.start_victim(&environment).await?;
                stage.create_all();
            }
        }
        match self {
            Self::C6 | Self::C19 => {
                until!("the vendor accepted", REACH_BOUND, stage.vendor.ledger().accepted() > 0).await?;
                if self == Self::C19 {
                    stage.victim.terminate();
                }
                stage.victim.freeze().await?;
            }
            Self::C9 => {
                stage.until_running().await?;
                stage.victim.freeze().await?;
            }
            _ => {
                let what = format!("{} stands at {self:?}", stage.victim.name);
                until!(&what, REACH_BOUND, stage.victim.is_frozen()).await?;
            }
        }
        if self == Self::C18 {
            stage.cancel_first().await?;
        }
        Ok(())
    }
}
