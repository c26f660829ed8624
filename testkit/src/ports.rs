//! Ports on loopback that no other test gets, also while the member that uses them is stopped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range the kernel takes the ports of outgoing connections from: otherwise a connection of one member
/// could sit on the port of another one that is just being restarted.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A TCP port on loopback, reserved as long as this value lives.
///
/// The reservation is a UDP socket on the same number: it holds across processes, ends with them, and leaves the
/// TCP port to etcd.
#[derive(Debug)]
pub struct Port {
    reservation: UdpSocket,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Errors
    /// None is free.
    pub fn reserve() -> io::Result<Self> {
        // Processes begin at different places, so that they seldom meet.
        let offset = u64::from(std::process::id()) * 97 % u64::from(COUNT);
        for _ in 0..COUNT {
            let step = u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
            let number = FIRST + ((offset + step) % u64::from(COUNT)) as u16;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
            let Ok(reservation) = UdpSocket::bind(address) else { continue };
            if TcpListener::bind(address).is_ok() {
                return Ok(Self { reservation });
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port on loopback"))
    }

    /// The address to bind to.
    ///
    /// # Panics
    /// Never: a bound socket has an address.
    pub fn address(&self) -> SocketAddr {
        self.reservation.local_addr().expect("a bound socket has an address")
    }

    /// The address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_distinct_and_stay_so_while_nobody_listens() {
        let ports: Vec<Port> = (0..50).map(|_| Port::reserve().unwrap()).collect();
        let distinct: BTreeSet<SocketAddr> = ports.iter().map(Port::address).collect();
        assert_eq!(distinct.len(), ports.len());
        for address in distinct {
            assert!(TcpListener::bind(address).is_ok(), "{address} is not left to etcd");
            assert!(UdpSocket::bind(address).is_err(), "{address} is not reserved");
        }
    }

    #[test]
    fn a_port_somebody_listens_on_is_passed_over() {
        let first = Port::reserve().unwrap().address();
        let _listener = TcpListener::bind(first).unwrap();
        NEXT.fetch_sub(1, Ordering::Relaxed);
        assert_ne!(Port::reserve().unwrap().address(), first);
    }
}
