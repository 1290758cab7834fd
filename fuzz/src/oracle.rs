//! Indigo's undoing of operations, by the Go program in `oracle/`, which describes what is said between the two.

use std::io::{BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use relay::protocol::cid::Cid;
use relay::protocol::frame::RepoOp;

use crate::case::Nodes;

static ORACLE: LazyLock<Mutex<Oracle>> = LazyLock::new(|| Mutex::new(Oracle::start()));

/// The running program. It ends with its standard input, and so with this process.
struct Oracle {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _child: Child,
}

/// The root that undoing the operations, in this order, leads to; `None` when indigo refuses them.
pub fn invert(data: &Cid, nodes: &Nodes, ops: &[RepoOp<'_>]) -> Option<Cid> {
    ORACLE.lock().unwrap_or_else(PoisonError::into_inner).ask(&request(data, nodes, ops))
}

impl Oracle {
    fn start() -> Oracle {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/oracle");
        let mut child = Command::new("go")
            .args(["run", "-C", folder, "-mod=readonly", "-buildvcs=false", "."])
            .env("CGO_ENABLED", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("go, which builds the program that asks indigo");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { unreachable!("both are piped") };
        Oracle { input, output: BufReader::new(output), _child: child }
    }

    fn ask(&mut self, request: &[u8]) -> Option<Cid> {
        let mut answer = [0; 33];
        let asked = self.input.write_all(request).and_then(|()| self.output.read_exact(&mut answer));
        asked.expect("an answer; the program in fuzz/oracle says why there is none");
        let [refused, digest @ ..] = answer;
        (refused == 0).then(|| Cid::from_digest(digest))
    }
}

fn request(data: &Cid, nodes: &Nodes, ops: &[RepoOp<'_>]) -> Vec<u8> {
    let mut request = data.digest().to_vec();
    request.extend((nodes.len() as u16).to_be_bytes());
    for node in nodes.values() {
        request.extend((node.len() as u32).to_be_bytes());
        request.extend(node);
    }
    request.extend((ops.len() as u16).to_be_bytes());
    for op in ops {
        request.extend((op.path.len() as u16).to_be_bytes());
        request.extend(op.path.as_bytes());
        for cid in [op.cid, op.prev] {
            request.push(u8::from(cid.is_some()));
            request.extend(cid.iter().flat_map(Cid::digest));
        }
    }
    request
}
