use super::*;

#[tokio::test]
async fn the_beginning_is_kept_and_more_is_said() {
    let read = |limit| read_output(Some(&b"abcdef"[..]), limit);
    assert_eq!(read(6).await, ("abcdef".to_owned(), false));
    assert_eq!(read(4).await, ("abcd".to_owned(), true));
    assert_eq!(
        super::read_output(None::<&[u8]>, 9).await,
        (String::new(), false)
    );
}

#[test]
fn a_missing_program_is_no_missing_container() {
    let missing = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"cat\": executable file not found in $PATH";
    assert_eq!(classify_start_error(missing), Some(StartFault::NoProgram));
    let idle = "unable to upgrade connection: container not found (\"app\")";
    assert_eq!(classify_start_error(idle), Some(StartFault::NotRunning));
    assert_eq!(classify_start_error("etcdserver: leader changed"), None);
}
