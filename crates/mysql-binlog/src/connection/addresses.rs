//! Which address of a host answers.
//!
//! A name may stand for several addresses, of which some are dead: no route, a machine that is off, a family
//! that the server does not listen on. All are tried in the resolver's order, each with a head start before the
//! next, as in RFC 8305 ("Happy Eyeballs").

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mysql_async::{Error, IoError};

/// How long an address may take before the next is tried beside it. A lost SYN is sent again after a second, so
/// this is late enough for a slow server to be found at its first address, where the relay was before …
const HEAD_START: Duration = Duration::from_secs(1);
/// … but all addresses are being tried within this, half the time that connecting may take.
const ALL_STARTED_WITHIN: Duration = Duration::from_secs(5);

/// An address, and why it does not answer.
pub type Failure = (SocketAddr, Error);

/// The answer of the first address that has one. Another is tried at once when one fails, and when one takes
/// long.
///
/// # Errors
/// What each address failed with, in the order of failing.
pub async fn first_answer<T>(
    addresses: &[SocketAddr],
    attempt: impl AsyncFn(SocketAddr) -> Result<T, Error>,
) -> Result<T, Vec<Failure>> {
    let head_start = head_start(addresses.len());
    let mut untried = addresses.iter().copied();
    let mut trying = FuturesUnordered::new();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = untried.next() {
            let attempt = &attempt;
            trying.push(async move { (address, attempt(address).await) });
        } else if trying.is_empty() {
            return Err(failures);
        }
        // One that takes long leaves this loop for the next address; without another it is waited for.
        let is_last = untried.len() == 0;
        let answered = if is_last {
            trying.next().await
        } else {
            tokio::time::timeout(head_start, trying.next()).await.unwrap_or(None)
        };
        match answered {
            Some((_, Ok(answer))) => return Ok(answer),
            Some((address, Err(error))) => {
                tracing::debug!(%address, %error, "no server answers at this address");
                failures.push((address, error));
            }
            None => {}
        }
    }
}

fn head_start(count: usize) -> Duration {
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    HEAD_START.min(ALL_STARTED_WITHIN / count)
}

/// One error for all: that of a server, which knows more than a network; else each address with its own.
pub fn one_error(mut failures: Vec<Failure>) -> Error {
    let of_server = |(_, error): &Failure| !matches!(error, Error::Io(_));
    if let Some(at) = failures.iter().position(of_server) {
        return failures.swap_remove(at).1;
    }
    if failures.len() == 1 {
        return failures.remove(0).1;
    }
    let mut words = String::new();
    let mut kind = io::ErrorKind::NotFound;
    for (address, error) in failures {
        let error = match error {
            Error::Io(IoError::Io(error)) => error,
            error => io::Error::other(error),
        };
        kind = error.kind();
        let separator = if words.is_empty() { "" } else { "; " };
        let _ = write!(words, "{separator}{address}: {error}");
    }
    if words.is_empty() {
        words.push_str("the host has no address");
    }
    Error::Io(IoError::Io(io::Error::new(kind, words)))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream as StdStream};

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    use super::*;

    const LOOPBACKS: [Ipv4Addr; 3] =
        [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::new(127, 0, 0, 4)];

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("build a runtime")
    }

    fn listen(at: impl Into<std::net::IpAddr>) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((at.into(), 0)).expect("bind a loopback address");
        let address = listener.local_addr().expect("it is bound");
        (listener, address)
    }

    /// A server that greets everybody with one byte.
    fn serve(at: impl Into<std::net::IpAddr>, greeting: u8) -> SocketAddr {
        let (listener, address) = listen(at);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = std::io::Write::write_all(&mut &stream, &[greeting]);
            }
        });
        address
    }

    /// Nobody takes connections here any more: the kernel drops what asks for one.
    fn dead(at: impl Into<std::net::IpAddr>) -> (impl Sized, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("make a socket");
        socket.bind(&SocketAddr::new(at.into(), 0).into()).expect("bind a loopback address");
        socket.listen(0).expect("listen");
        let address = socket.local_addr().expect("it is bound").as_socket().expect("of TCP");
        let wait = Duration::from_millis(200);
        let fill = || StdStream::connect_timeout(&address, wait);
        let queued: Vec<StdStream> = std::iter::repeat_with(fill).map_while(Result::ok).collect();
        ((socket, queued), address)
    }

    fn refusing(at: impl Into<std::net::IpAddr>) -> SocketAddr {
        listen(at).1
    }

    fn greeting_of(addresses: &[SocketAddr]) -> Result<u8, Vec<Failure>> {
        let greeted = first_answer(addresses, async |address| {
            let mut stream = TcpStream::connect(address).await?;
            Ok(stream.read_u8().await?)
        });
        runtime().block_on(greeted)
    }

    #[test]
    fn an_address_that_refuses_is_passed_over() {
        let live = serve(LOOPBACKS[1], b'b');
        assert_eq!(greeting_of(&[refusing(LOOPBACKS[0]), live]).expect("one lives"), b'b');
        assert_eq!(greeting_of(&[live, refusing(LOOPBACKS[0])]).expect("one lives"), b'b');
        if let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
            let v6 = listener.local_addr().expect("it is bound");
            drop(listener);
            assert_eq!(greeting_of(&[v6, live]).expect("one lives"), b'b');
        }
    }

    #[test]
    fn an_address_that_never_answers_is_passed_over_wherever_it_stands() {
        let (_kept, dead) = dead(LOOPBACKS[0]);
        // One that takes connections and says nothing.
        let (_mute, mute) = listen(LOOPBACKS[2]);
        let live = serve(LOOPBACKS[1], b'b');
        for addresses in
            [[dead, mute, live], [mute, live, dead], [live, dead, mute], [dead, live, mute]]
        {
            assert_eq!(greeting_of(&addresses).expect("one lives"), b'b', "{addresses:?}");
        }
    }

    #[test]
    fn of_two_that_answer_the_first_is_taken() {
        let (first, second) = (serve(LOOPBACKS[0], b'a'), serve(LOOPBACKS[1], b'b'));
        for _ in 0..20 {
            assert_eq!(greeting_of(&[first, second]).expect("both live"), b'a');
            assert_eq!(greeting_of(&[second, first]).expect("both live"), b'b');
        }
    }

    #[test]
    fn many_dead_addresses_leave_time_for_a_live_one() {
        for count in 1..100 {
            let all_started = head_start(count) * u32::try_from(count - 1).expect("it is small");
            assert!(all_started <= ALL_STARTED_WITHIN, "{count}: {all_started:?}");
        }
        assert_eq!(head_start(0), HEAD_START);
    }

    #[test]
    fn when_none_answers_the_error_says_what_is_wrong_with_each() {
        let refusing = [refusing(LOOPBACKS[0]), refusing(LOOPBACKS[1])];
        let error = one_error(greeting_of(&refusing).expect_err("none lives")).to_string();
        for address in refusing {
            assert!(error.contains(&format!("{address}: Connection refused")), "{error}");
        }
        let alone = one_error(greeting_of(&refusing[..1]).expect_err("it does not live"));
        assert!(alone.to_string().ends_with("Connection refused (os error 111)"), "{alone}");
        let nothing = one_error(greeting_of(&[]).expect_err("there is none"));
        assert!(nothing.to_string().contains("the host has no address"), "{nothing}");
    }

    #[test]
    fn the_error_of_a_server_goes_before_those_of_the_network() {
        let full = Error::Server(mysql_async::ServerError {
            code: 1040,
            message: "Too many connections".to_owned(),
            state: "08004".to_owned(),
        });
        let at = SocketAddr::from((LOOPBACKS[0], 3306));
        let refused = || (at, Error::from(io::Error::from(io::ErrorKind::ConnectionRefused)));
        let error = one_error(vec![refused(), (at, full), refused()]);
        assert!(matches!(error, Error::Server(error) if error.code == 1040));
    }
}
