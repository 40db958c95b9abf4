//! Rates over the last 10, 60 and 600 seconds, from samples of counters that only grow.

use std::collections::VecDeque;

/// Samples of one counter, a fixed time apart.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    samples: VecDeque<(u64, u64)>,
}

impl Rates {
    /// Notes the counter at a time; samples older than ten minutes go.
    pub(crate) fn sample(&mut self, now_ms: u64, count: u64) {
        self.samples.push_back((now_ms, count));
        while self.samples.len() > 2 && self.samples[1].0 + WINDOWS_MS[2] <= now_ms {
            self.samples.pop_front();
        }
    }

    /// Per second over each window, as far back as there are samples.
    pub(crate) fn per_second(&self) -> [f64; 3] {
        let Some((now, count)) = self.samples.back() else { return [0.0; 3] };
        WINDOWS_MS.map(|window| {
            let begin = self.samples.iter().rev().take_while(|(at, _)| at + window >= *now).last();
            match begin {
                Some((at, before)) if at < now => (count - before) as f64 * 1000.0 / (now - at) as f64,
                _ => 0.0,
            }
        })
    }

    /// As tools parse them: three decimals separated by blanks.
    pub(crate) fn text(&self) -> String {
        let [short, middle, long] = self.per_second();
        format!("{short:.1} {middle:.1} {long:.1}")
    }
}

const WINDOWS_MS: [u64; 3] = [10_000, 60_000, 600_000];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_sees_its_own_past() {
        let mut rates = Rates::default();
        assert_eq!(rates.text(), "0.0 0.0 0.0");
        // 100 per second for a minute, then nothing.
        for second in (0..=60).step_by(10) {
            rates.sample(second * 1000, second * 100);
        }
        assert_eq!(rates.text(), "100.0 100.0 100.0");
        rates.sample(70_000, 6000);
        assert_eq!(rates.text(), "0.0 83.3 85.7");
    }

    #[test]
    fn old_samples_go() {
        let mut rates = Rates::default();
        for at in (0..10_000_000).step_by(10_000) {
            rates.sample(at, at);
        }
        assert!(rates.samples.len() <= 62);
        assert_eq!(rates.text(), "1000.0 1000.0 1000.0");
    }
}
