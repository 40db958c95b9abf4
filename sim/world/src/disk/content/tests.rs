//! The content of a file against the obvious slow version: one that keeps a whole copy per write.

use proptest::prelude::*;

use super::*;

fn dice(seed: u64) -> Dice {
    Dice::new(crate::random::key(seed, "test", 0, "disk"))
}

/// Every state the file was in since it was last known durable, sector by sector decided.
struct Slow {
    now: Vec<u8>,
    /// Number of each write with the content after it; the first entry is durable.
    versions: Vec<(u64, Vec<u8>)>,
    writes: u64,
}

impl Slow {
    fn new(len: usize) -> Self {
        Self { now: vec![0; len], versions: vec![(0, vec![0; len])], writes: 0 }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.writes += 1;
        self.now[at..at + bytes.len()].copy_from_slice(bytes);
        self.versions.push((self.writes, self.now.clone()));
    }

    fn make_durable(&mut self, covered: u64) {
        let first = self.versions.partition_point(|(write, _)| *write <= covered) - 1;
        self.versions.drain(..first);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write { at: usize, bytes: Vec<u8> },
    Zero { at: usize, len: usize },
    Begin,
    End,
    Power { rate: f64, seed: u64 },
}

const LEN: usize = 3 * PAGE + 700;

fn step() -> impl Strategy<Value = Step> {
    let bytes = proptest::collection::vec(any::<u8>(), 1..700);
    prop_oneof![
        8 => (0..LEN - 700, bytes).prop_map(|(at, bytes)| Step::Write { at, bytes }),
        1 => (0..LEN / 2, 0..LEN / 2).prop_map(|(at, len)| Step::Zero { at, len }),
        2 => Just(Step::Begin),
        2 => Just(Step::End),
        1 => (prop_oneof![Just(0.0), Just(1.0), Just(0.5)], any::<u64>())
            .prop_map(|(rate, seed)| Step::Power { rate, seed }),
    ]
}

fn everything(content: &Content) -> Vec<u8> {
    let mut found = Vec::new();
    content.read(0, content.len() as usize, |part| found.extend_from_slice(part));
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn reads_syncs_and_power_losses_agree_with_a_version_per_write(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let (mut fast, mut slow) = (Content::new(LEN as u64), Slow::new(LEN));
        let mut in_flight = Vec::new();
        for step in steps {
            match step {
                Step::Write { at, bytes } => {
                    fast.write(at as u64, &bytes);
                    slow.write(at, &bytes);
                }
                Step::Zero { at, len } => {
                    fast.zero(at as u64, len as u64);
                    slow.write(at, &vec![0; len]);
                }
                Step::Begin => in_flight.push(fast.latest()),
                Step::End => if let Some(covered) = in_flight.pop() {
                    fast.make_durable(covered);
                    slow.make_durable(covered.max(slow.versions[0].0));
                },
                Step::Power { rate, seed } => {
                    fast.lose_power(rate, &mut dice(seed));
                    let after = everything(&fast);
                    for start in (0..LEN).step_by(SECTOR) {
                        let range = start..(start + SECTOR).min(LEN);
                        let possible = match rate {
                            0.0 => slow.versions[..1].to_vec(),
                            _ => slow.versions.clone(),
                        };
                        prop_assert!(
                            possible.iter().any(|(_, version)| version[range.clone()] == after[range.clone()]),
                            "the sector at {start} is in none of its {} versions", possible.len()
                        );
                    }
                    slow.now = after.clone();
                    slow.versions = vec![(slow.writes, after)];
                    in_flight.clear();
                }
            }
            prop_assert_eq!(&everything(&fast), &slow.now);
            prop_assert_eq!(&fast.durable(0, LEN), &slow.versions[0].1);
        }
    }
}

#[test]
fn a_page_written_many_times_without_a_sync_keeps_its_durable_bytes() {
    let mut content = Content::new(PAGE as u64);
    content.write(0, b"durable");
    content.make_durable(content.latest());
    for turn in 0..10_000_u32 {
        content.write(0, &turn.to_be_bytes());
    }
    assert_eq!(content.durable(0, 7), b"durable");
    let covered = content.latest();
    content.write(0, b"later");
    content.make_durable(covered);
    assert_eq!(content.durable(0, 4), 9_999_u32.to_be_bytes());
    content.lose_power(0.0, &mut dice(1));
    assert_eq!(content.durable(0, 4), 9_999_u32.to_be_bytes());
}

#[test]
fn some_power_loss_leaves_a_sector_between_two_writes() {
    let between = (0..100).filter(|seed| {
        let mut content = Content::new(PAGE as u64);
        content.write(0, &[1; SECTOR]);
        content.write(0, &[2; SECTOR]);
        content.write(0, &[3; SECTOR]);
        content.lose_power(0.9, &mut dice(*seed));
        everything(&content)[..SECTOR] == [2; SECTOR]
    });
    assert!((3..30).contains(&between.count()));
}

#[test]
fn a_failed_write_back_is_durable_only_after_the_page_is_written_again() {
    let mut content = Content::new(2 * PAGE as u64);
    content.write(0, b"lost");
    content.write(PAGE as u64, b"also");
    assert_eq!(content.fail_write_back(content.latest()), 2);
    content.make_durable(content.latest());
    assert_eq!(content.durable(0, 4), [0; 4]);
    content.write(100, b"again");
    content.make_durable(content.latest());
    assert_eq!(content.durable(0, 4), b"lost");
    assert_eq!(content.durable(PAGE as u64, 4), [0; 4]);
}
