//! When a broken address may be dialled again: at once after a good connection, later after each failure.

use std::{ops::Add, time::Duration};

/// The failures of one address since it last worked; `T` is a point in time.
#[derive(Debug)]
pub(crate) struct Backoff<T> {
    failures: u32,
    again_at: Option<T>,
}

impl<T: Copy + Ord + Add<Duration, Output = T>> Backoff<T> {
    pub(crate) const fn new() -> Self {
        Self { failures: 0, again_at: None }
    }

    /// Ready, or when it will be.
    pub(crate) fn ready(&self, now: T) -> Result<(), T> {
        match self.again_at {
            Some(at) if at > now => Err(at),
            _ => Ok(()),
        }
    }

    /// An attempt failed. `draw` is any random number: it spreads the clients of a server that went away.
    pub(crate) fn failed(&mut self, now: T, draw: u64) {
        let pause = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        let spread = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX) / 4;
        self.failures = self.failures.saturating_add(1);
        self.again_at = Some(now + pause + Duration::from_millis(draw % (spread + 1)));
    }

    /// A connection stands.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::new();
    }
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_seconds_and_end_with_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new();
        assert_eq!(backoff.ready(ms(0)), Ok(()));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            backoff.failed(ms(0), 0);
            pauses.push(backoff.ready(ms(0)).unwrap_err().as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert_eq!(backoff.ready(ms(2_000)), Ok(()), "ready when the pause has passed");
        backoff.failed(ms(0), u64::MAX);
        assert!(backoff.ready(ms(0)).unwrap_err() <= ms(2_500), "spread over at most a quarter more");
        backoff.succeeded();
        assert_eq!(backoff.ready(ms(0)), Ok(()));
    }
}
