//! Switches that turn one safety rule off, so that the suite can show that it notices.
//!
//! A suite that stays green with a rule switched off is blind. [`switch_off`] is for tests in this process,
//! `LONGTAKE_ABLATION=R1,R4` for those that start the binary. Absent without the feature `ablation`: every rule holds.

/// A rule of the submit protocol (docs/durability.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Rule {
    /// Intent first.
    R1 = 1,
    /// Own commit only.
    R2 = 2,
    /// One send per intent.
    R3 = 3,
    /// Takeover never sends.
    R4 = 4,
    /// Evidence is unfenced.
    R5 = 5,
    /// Every submission carries the attempt's identity.
    R6 = 6,
    /// Absence is proof only after the settle time, from a covering listing, with the sender provably done.
    R7 = 7,
    /// A repeated send keeps its key.
    R8 = 8,
    /// Classify before recording: what proves nothing is unknown.
    R9 = 9,
    /// Bounded sends: deadline and trust window are checked before the first byte.
    R10 = 10,
}

impl Rule {
    /// R1 to R10.
    pub const ALL: [Self; 10] =
        [Self::R1, Self::R2, Self::R3, Self::R4, Self::R5, Self::R6, Self::R7, Self::R8, Self::R9, Self::R10];
}

#[cfg(feature = "ablation")]
static OFF: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Switches rules off for this process. Only test builds have it.
#[cfg(feature = "ablation")]
pub fn switch_off(rules: &[Rule]) {
    let bits = rules.iter().fold(0, |bits, rule| bits | 1 << (*rule as u32));
    OFF.store(bits, std::sync::atomic::Ordering::SeqCst);
}

/// Whether a rule is switched off.
#[cfg(feature = "ablation")]
pub fn is_off(rule: Rule) -> bool {
    static FROM_OUTSIDE: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {
        let names = std::env::var("LONGTAKE_ABLATION").unwrap_or_default();
        let off = Rule::ALL.into_iter().filter(|rule| names.split(',').any(|name| name == format!("{rule:?}")));
        off.fold(0, |bits, rule| bits | 1 << (rule as u32))
    });
    (OFF.load(std::sync::atomic::Ordering::SeqCst) | *FROM_OUTSIDE) & 1 << (rule as u32) != 0
}

/// No rule is ever switched off in a release.
#[cfg(not(feature = "ablation"))]
#[inline(always)]
pub const fn is_off(_rule: Rule) -> bool {
    false
}
