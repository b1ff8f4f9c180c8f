use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// What goes wrong with requests whose path holds a certain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is there.
    NotFound,
    /// The server fails.
    Error,
    /// The connection ends in the middle of the answer.
    Cut,
    /// The answer has as many bytes, but others.
    WrongBytes,
    /// The answer stops in the middle, and the connection stays.
    Stall,
    /// The request is taken, and no answer comes.
    Silence,
}

/// A web server that keeps what is put to it, in this process and on this machine only. It answers as much of Google's
/// protocol as a cache in a bucket needs, whoever asks.
pub struct FileServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    files: Mutex<HashMap<String, Vec<u8>>>,
    log: Mutex<Vec<String>>,
    faults: Mutex<Vec<(String, Fault)>>,
    stop: AtomicBool,
}

/// How long a stalled connection stays open: longer than any client should wait.
const STALL: Duration = Duration::from_secs(20);

impl FileServer {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stop.load(Ordering::SeqCst) {
                    break;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&serving));
                // A client that goes away in the middle is part of the tests.
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// Its address, with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on, requests whose path holds that text go wrong.
    pub fn fail(&self, text: &str, fault: Fault) {
        self.shared.faults.lock().unwrap().push((text.to_owned(), fault));
    }

    /// All is well again.
    pub fn heal(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// The requests so far, as `GET /path`, and forgets them.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.log.lock().unwrap())
    }

    /// Changes what is kept.
    pub fn edit(&self, change: impl FnOnce(&mut HashMap<String, Vec<u8>>)) {
        change(&mut self.shared.files.lock().unwrap());
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

/// A path as it was meant: some clients write even `/` as `%2F`.
fn decoded(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// One request, one answer, then the connection is closed.
fn serve(mut stream: &TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (method, path) = line.split_once(' ').map(|(method, rest)| (method, rest.split(' ').next().unwrap_or("")))?;
    let (method, path) = (method.to_owned(), decoded(path)?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    shared.log.lock().unwrap().push(format!("{method} {path}"));
    let fault = shared.faults.lock().unwrap().iter().find(|(text, _)| path.contains(text)).map(|(_, fault)| *fault);
    if fault == Some(Fault::Silence) {
        thread::sleep(STALL);
        return None;
    }
    let mut files = shared.files.lock().unwrap();
    let (status, mut answer) = match (method.as_str(), fault) {
        (_, Some(Fault::Error)) => (500, Vec::new()),
        (_, Some(Fault::NotFound)) => (404, Vec::new()),
        ("PUT", _) => {
            files.insert(path, body);
            (201, Vec::new())
        }
        (_, _) => files.get(&path).map_or((404, Vec::new()), |file| (200, file.clone())),
    };
    drop(files);
    let head = format!(
        "HTTP/1.1 {status} X\r\nConnection: close\r\nLast-Modified: Mon, 23 Nov 2026 17:53:01 GMT\r\nETag: \"x\"\r\nContent-Length: {}\r\n\r\n",
        answer.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    if method == "HEAD" {
        return Some(());
    }
    match fault {
        Some(Fault::WrongBytes) => answer.iter_mut().for_each(|byte| *byte ^= 1),
        Some(Fault::Cut) => answer.truncate(answer.len() / 2),
        Some(Fault::Stall) => {
            stream.write_all(&answer[..answer.len() / 2]).ok()?;
            thread::sleep(STALL);
            return None;
        }
        _ => {}
    }
    stream.write_all(&answer).ok()
}
