//! The tape: what the planner decided in thousands of random stories, to hold every later planner to.
//!
//! `tape/stories.txt` has a line for each story: kind, number, plans, and a hash over the text of all plans. A planner
//! that is only rewritten gives the same tape. One that decides otherwise on purpose writes a new one, by
//! `DBBALANCE_TAPE=write`, and the change says why.

mod story;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use self::story::StoryId;
use crate::testing::recorder::PlanDigest;

/// `write` records the tape anew.
const MODE: &str = "DBBALANCE_TAPE";
/// Plays only these stories, as in `stamps-17,evidence-3`.
const ONLY: &str = "DBBALANCE_TAPE_STORY";
/// A directory for the text of all plans of stories that differ, or of those that were asked for.
const DUMP: &str = "DBBALANCE_TAPE_DUMP";
/// Differing stories beyond this are counted, and neither listed nor dumped.
const LISTED: usize = 20;
type Digests = BTreeMap<StoryId, Result<PlanDigest, String>>;

/// Plays stories on all cores; a story that breaks a rule is an error with its words.
fn play_all(ids: &[StoryId]) -> Digests {
    let next = AtomicUsize::new(0);
    let digests = Mutex::new(Digests::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = std::panic::catch_unwind(|| id.play(false).digest());
                    let digest = played.map_err(|cause| {
                        let text = cause.downcast_ref::<String>().cloned();
                        text.unwrap_or_else(|| "a rule is broken".into())
                    });
                    digests.lock().unwrap().insert(*id, digest);
                }
            });
        }
    });
    digests.into_inner().unwrap()
}

fn tape_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/tape/stories.txt")
}

fn line(id: StoryId, digest: PlanDigest) -> String {
    let PlanDigest { plans, hash } = digest;
    format!("{} {} {plans} {hash:016x}", id.kind.as_str(), id.number)
}

/// The lines of the tape by kind and number.
fn read_tape() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(tape_path()).unwrap();
    let lines = text.lines().map(|line| {
        let mut words = line.split(' ');
        let id = format!("{}-{}", words.next().unwrap(), words.next().unwrap());
        (id, line.to_owned())
    });
    lines.collect()
}

fn write_tape(digests: &Digests) {
    let mut text = String::new();
    for (id, digest) in digests {
        let digest = digest.as_ref().map_err(|e| format!("{id}: {e}")).unwrap();
        writeln!(text, "{}", line(*id, *digest)).unwrap();
    }
    std::fs::write(tape_path(), text).unwrap();
}

/// Writes all plans of a story as text; of one that breaks a rule there are none.
fn dump_story(directory: &Path, id: StoryId) {
    let played = std::panic::catch_unwind(|| id.play(true));
    if let Ok(recorder) = played {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join(format!("{id}.txt")), recorder.text()).unwrap();
    }
}

#[test]
fn every_story_on_the_tape_gets_the_plans_that_were_recorded() {
    let began = Instant::now();
    let mode = std::env::var(MODE).ok();
    assert!(mode.as_deref().is_none_or(|m| m == "write"), "{MODE}=write");
    let only = std::env::var(ONLY).ok();
    let asked: Option<Vec<&str>> = only.as_deref().map(|o| o.split(',').collect());
    let mut ids = StoryId::all();
    ids.retain(|id| {
        let asked = asked.as_ref();
        asked.is_none_or(|asked| asked.contains(&id.to_string().as_str()))
    });
    assert!(!ids.is_empty(), "{ONLY}: no such story");
    let digests = play_all(&ids);
    if mode.is_some() {
        assert!(asked.is_none(), "the tape is written as a whole");
        write_tape(&digests);
    }
    let tape = read_tape();
    let mut differing = Vec::new();
    for (id, digest) in &digests {
        let recorded = tape.get(&id.to_string()).map_or("nothing", String::as_str);
        let found = match digest {
            Ok(digest) => line(*id, *digest),
            Err(broken) => broken.clone(),
        };
        if found != recorded {
            differing.push((*id, format!("{id}: recorded {recorded}, found {found}")));
        }
    }
    // Those that break a rule come first.
    differing.sort_by_key(|(id, _)| digests[id].is_ok());
    if let Some(directory) = std::env::var_os(DUMP) {
        let dumped: Vec<StoryId> = match &asked {
            Some(_) => ids.clone(),
            None => differing.iter().map(|(id, _)| *id).take(LISTED).collect(),
        };
        for id in dumped {
            dump_story(Path::new(&directory), id);
        }
    }
    let plans: usize = digests.values().flatten().map(|d| d.plans).sum();
    println!(
        "{} stories, {plans} plans, differences {}, in {:?}",
        digests.len(),
        differing.len(),
        began.elapsed()
    );
    let listed: Vec<&str> = differing
        .iter()
        .map(|d| d.1.as_str())
        .take(LISTED)
        .collect();
    assert!(
        differing.is_empty(),
        "{} stories differ:\n{}\nTo see where, run this with the planner before and after, and diff the two files:\n  \
         {DUMP}=target/tape/before {ONLY}={} make tape",
        differing.len(),
        listed.join("\n"),
        differing[0].0,
    );
    assert!(
        asked.is_some() || tape.len() == digests.len(),
        "the tape has stories that were not played"
    );
}
