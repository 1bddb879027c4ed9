#![allow(clippy::unwrap_used)]
use super::*;
use std::process::Command;

#[test]
fn a_command_name_with_brackets_does_not_confuse() {
    let text = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
    assert_eq!(parse_stat(text), Some(('S', 777)));
}

#[test]
fn another_start_time_is_another_process() {
    let me = ProcessIdentity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
    assert!(me.is_alive());
    let stranger = ProcessIdentity {
        start: me.start + 1,
        ..me
    };
    assert!(!stranger.is_alive());
    // Would end the test itself if the start time were not looked at.
    stranger.signal(Signal::SIGKILL).unwrap();
}

#[test]
fn a_stopped_child_is_dead_and_a_record_reads_back() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let identity = ProcessIdentity::of(i32::try_from(child.id()).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sleep");
    identity.write_to(&file).unwrap();
    assert_eq!(ProcessIdentity::read_from(&file), Some(identity));
    identity.stop(Duration::from_secs(5)).unwrap();
    assert!(!identity.is_alive());
    // Reaped already, as our own child.
    let _ = child.wait();
}

#[test]
fn processes_are_found_by_the_folder_they_work_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new("sleep")
        .arg("60")
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let found = find_processes_in(folder.path()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].pid, i32::try_from(child.id()).unwrap());
    assert!(find_processes_in(folder.path()).unwrap().is_empty());
}

#[test]
fn marked_processes_are_found() {
    let mark = format!("DBBALANCE_TESTBED_TEST={}", std::process::id());
    let (key, value) = mark.split_once('=').unwrap();
    let mut child = Command::new("sleep")
        .arg("60")
        .env(key, value)
        .spawn()
        .unwrap();
    let found = wait::poll_until("mark", Duration::from_secs(5), || {
        let found = find_marked_processes(&mark)?;
        Ok((!found.is_empty()).then_some(found))
    })
    .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].pid, i32::try_from(child.id()).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
}
