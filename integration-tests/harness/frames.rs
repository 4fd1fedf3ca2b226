//! Kafka's frames on a socket, and the proxies that read them: each frame is a length and so many bytes, of a
//! request or of an answer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// Listens on a free port of loopback, connects each client to `upstream` (host:port), and hands both to
/// `carry`. Returns the port.
pub fn listen(upstream: &str, carry: impl Fn(TcpStream, TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    let upstream = upstream.to_owned();
    // It ends with the process: a test's proxy has nothing to give back.
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if let Ok(server) = TcpStream::connect(&upstream) {
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("a socket takes this option");
                }
                carry(client, server);
            }
        }
    });
    port
}

pub fn read(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut frame)?;
    Ok(frame)
}

pub fn write(to: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).expect("a frame").to_be_bytes();
    to.write_all(&[&length[..], frame].concat())
}

/// Ends a connection on both sides. The other direction may have ended it before.
pub fn cut(client: &TcpStream, server: &TcpStream) {
    for stream in [client, server] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Carries frames until either side closes.
pub fn pass(
    from: &mut TcpStream,
    to: &mut TcpStream,
    rewrite: impl Fn(Vec<u8>) -> Vec<u8>,
) -> io::Result<()> {
    loop {
        match read(from) {
            Ok(frame) => write(to, &rewrite(frame))?,
            Err(error) => {
                to.shutdown(Shutdown::Both)?;
                return Err(error);
            }
        }
    }
}
