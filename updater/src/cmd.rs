//! The only file that starts child processes: no shell, arguments in the log, the end of stderr in
//! the error.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

const TAIL_LINES: usize = 12;

/// How long a child may take to clean up after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// The children that somebody waits for, each at the head of a process group of its own.
static CHILDREN: Mutex<Children> = Mutex::new(Children {
    stopped: false,
    groups: BTreeSet::new(),
});

struct Children {
    stopped: bool,
    groups: BTreeSet<i32>,
}

/// Ends every child that a call in this file waits for (SIGTERM, later SIGKILL, to its process
/// group), so that the call fails; from now on such calls start nothing.
pub fn stop_children() {
    signal_children(Signal::TERM);
    thread::spawn(|| {
        thread::sleep(GRACE);
        signal_children(Signal::KILL);
    });
}

fn signal_children(signal: Signal) {
    let mut children = children();
    children.stopped = true;
    for pid in children.groups.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // It fails where the group is already empty, which is what we want.
        let _ = kill_process_group(pid, signal);
    }
}

fn children() -> MutexGuard<'static, Children> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A command in the making. It inherits nothing on stdin.
pub struct Cmd {
    inner: Command,
}

impl Cmd {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut inner = Command::new(program);
        inner.stdin(Stdio::null());
        Self { inner }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.inner.args(args);
        self
    }

    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(key, value);
        self
    }

    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.inner.envs(pairs);
        self
    }

    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.inner.env_remove(key);
        self
    }

    pub fn current_dir(mut self, dir: impl AsRef<std::path::Path>) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// Runs to the end; stdout is dropped.
    pub fn run(self) -> Result<()> {
        self.output().map(drop)
    }

    /// Runs to the end and returns stdout.
    pub fn output(self) -> Result<Vec<u8>> {
        self.finish(Stdio::null(), Vec::new(), all, |_| {})
    }

    /// Runs to the end and returns stdout as text.
    pub fn text(self) -> Result<String> {
        let shown = self.to_string();
        String::from_utf8(self.output()?).with_context(|| format!("output of {shown} is not UTF-8"))
    }

    /// Runs to the end, hands stdout to `read` on a thread of its own and each line of stderr to `line` as it
    /// comes, and returns what `read` made of it.
    pub fn run_with<T: Send>(
        self,
        read: impl FnOnce(ChildStdout) -> Result<T> + Send,
        line: impl FnMut(&str),
    ) -> Result<T> {
        self.finish(Stdio::null(), Vec::new(), read, line)
    }

    /// Feeds `input` to stdin, runs to the end and returns stdout.
    pub fn output_with_input(self, input: Vec<u8>) -> Result<Vec<u8>> {
        self.finish(Stdio::piped(), input, all, |_| {})
    }

    /// Runs to the end with our own stdin, stdout and stderr; the status is the caller's to judge.
    pub fn status_inherited(mut self) -> Result<ExitStatus> {
        let shown = self.to_string();
        self.inner.stdin(Stdio::inherit());
        self.inner.status().with_context(|| cannot_start(&shown))
    }

    /// Becomes the command: returns only where that fails.
    pub fn exec(mut self) -> anyhow::Error {
        let shown = self.to_string();
        self.inner.stdin(Stdio::inherit());
        anyhow::Error::new(self.inner.exec()).context(cannot_start(&shown))
    }

    /// Runs to the end in silence; the status is the caller's to judge.
    pub fn status(mut self) -> Result<ExitStatus> {
        let shown = self.to_string();
        self.inner.stdout(Stdio::null()).stderr(Stdio::null());
        self.inner.status().with_context(|| cannot_start(&shown))
    }

    /// Runs to the end; the status, stdout and stderr are the caller's to judge.
    pub fn complete(mut self) -> Result<Output> {
        let shown = self.to_string();
        self.inner.output().with_context(|| cannot_start(&shown))
    }

    /// Starts the command and leaves it to the caller, who must reap it.
    pub fn spawn(mut self, stdout: Stdio, stderr: Stdio) -> Result<Child> {
        let shown = self.to_string();
        self.inner.stdout(stdout).stderr(stderr);
        self.inner.spawn().with_context(|| cannot_start(&shown))
    }

    fn finish<T: Send>(
        mut self,
        stdin: Stdio,
        input: Vec<u8>,
        read: impl FnOnce(ChildStdout) -> Result<T> + Send,
        mut line: impl FnMut(&str),
    ) -> Result<T> {
        let shown = self.to_string();
        self.inner
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.spawn_recorded(&shown)?;
        let (to, from, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (made, tail) = thread::scope(|scope| {
            let writer = scope.spawn(move || {
                if let Some(mut to) = to {
                    // A child that closes its stdin early says why by its exit status.
                    drop(to.write_all(&input));
                }
            });
            let reader = scope.spawn(move || read(from.context("it has no stdout")?));
            let mut tail: Vec<String> = Vec::new();
            for text in err
                .into_iter()
                .flat_map(|e| BufReader::new(e).split(b'\n'))
                .map_while(Result::ok)
            {
                let text = String::from_utf8_lossy(&text).trim_end().to_owned();
                line(&text);
                if !text.is_empty() {
                    tail.push(text);
                }
                if tail.len() > TAIL_LINES {
                    tail.remove(0);
                }
            }
            let _ = writer.join();
            let made = reader
                .join()
                .unwrap_or_else(|_| bail!("the reader panicked"));
            (made, tail)
        });
        let status = wait_recorded(&mut child).with_context(|| format!("waiting for {shown}"))?;
        let made = made.with_context(|| format!("reading the output of {shown}"));
        match (status.success(), made) {
            (true, made) => made,
            (false, Ok(_)) => bail!("{shown} failed ({status}): {}", tail.join(" | ")),
            // Which of the two was first cannot be told: a child whose output nobody takes fails too.
            (false, Err(e)) => bail!("{shown} failed ({status}): {} | {e:#}", tail.join(" | ")),
        }
    }

    /// The lock is held over the start, so that no child slips past [`stop_children`].
    fn spawn_recorded(&mut self, shown: &str) -> Result<Child> {
        let mut children = children();
        if children.stopped {
            bail!("not starting {shown}: interrupted");
        }
        let child = self
            .inner
            .process_group(0)
            .spawn()
            .with_context(|| cannot_start(shown))?;
        children.groups.insert(i32::try_from(child.id())?);
        Ok(child)
    }
}

fn all(mut from: ChildStdout) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Waits, and forgets the child before its number can be given to another.
fn wait_recorded(child: &mut Child) -> Result<ExitStatus> {
    let pid = i32::try_from(child.id())?;
    if let Some(pid) = Pid::from_raw(pid) {
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        )?;
    }
    children().groups.remove(&pid);
    Ok(child.wait()?)
}

fn cannot_start(shown: &str) -> String {
    format!("starting {shown} (is it installed?)")
}

/// Program and arguments, shortened for messages.
impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.inner.get_program().to_string_lossy().into_owned();
        for arg in self.inner.get_args() {
            text.push(' ');
            text.push_str(&arg.to_string_lossy());
        }
        match text.char_indices().nth(160) {
            Some((end, _)) => write!(f, "{}…", text.get(..end).unwrap_or(&text)),
            None => f.write_str(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_child_is_forgotten() {
        let mut cmd = Cmd::new("true");
        let mut child = cmd.spawn_recorded("true").unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(children().groups.contains(&pid));
        assert!(wait_recorded(&mut child).unwrap().success());
        assert!(!children().groups.contains(&pid));
    }

    #[test]
    fn output_and_failure() {
        assert_eq!(Cmd::new("printf").arg("x y").text().unwrap(), "x y");
        assert_eq!(
            Cmd::new("cat")
                .output_with_input(b"hello".to_vec())
                .unwrap(),
            b"hello"
        );
        let error = Cmd::new("sh")
            .args(["-c", "echo why >&2; exit 3"])
            .run()
            .unwrap_err();
        assert!(format!("{error:#}").contains("why"), "{error:#}");
        assert!(format!("{error:#}").contains('3'), "{error:#}");
        let refuse = |_| -> Result<()> { bail!("no room") };
        let error = Cmd::new("yes").run_with(refuse, |_| {}).unwrap_err();
        assert!(format!("{error:#}").contains("no room"), "{error:#}");
        let error = Cmd::new("no-such-program").run().unwrap_err();
        assert!(
            format!("{error:#}").contains("no-such-program"),
            "{error:#}"
        );
    }
}
