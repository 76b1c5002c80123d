//! SOCKS version 5 (RFC 1928), with a user name and password where the proxy wants them (RFC 1929). The name goes to the
//! proxy as it is: who resolves it here would tell the wrong resolver.

use std::net::IpAddr;

use loquat_core::Secret;
use tokio::net::TcpStream;

use super::{read_exact, write_all};
use crate::Origin;

const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;

/// User name and password, each 1 to 255 bytes.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// Asks for a connection to that origin. After it, not one byte of what follows has been read.
pub(super) async fn connect(
    tcp: &TcpStream,
    credentials: Option<&Credentials>,
    to: &Origin,
) -> Result<(), String> {
    let greeting: &[u8] =
        if credentials.is_some() { &[5, 2, NO_AUTHENTICATION, PASSWORD] } else { &[5, 1, NO_AUTHENTICATION] };
    write_all(tcp, greeting).await?;
    let mut chosen = [0; 2];
    read_exact(tcp, &mut chosen).await?;
    match (chosen, credentials) {
        ([5, NO_AUTHENTICATION], _) => {}
        ([5, PASSWORD], Some(credentials)) => authenticate(tcp, credentials).await?,
        ([5, 0xff], None) => {
            return Err("the proxy wants a user name and password: put them into its URL".into());
        }
        ([5, _], _) => return Err("the proxy wants an authentication that is not spoken here".into()),
        _ => return Err("the proxy did not answer in SOCKS 5".into()),
    }
    write_all(tcp, &request(to)?).await?;
    let mut reply = [0; 4];
    read_exact(tcp, &mut reply).await?;
    let [5, code, _, kind] = reply else {
        return Err("the proxy did not answer in SOCKS 5".into());
    };
    if code != 0 {
        return Err(format!("the proxy refused the connection: {}", reason(code)));
    }
    // The address it connects from, and a port: of no use here, but in the way.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => {
            let mut length = [0];
            read_exact(tcp, &mut length).await?;
            usize::from(length[0])
        }
        _ => return Err("the proxy did not answer in SOCKS 5".into()),
    };
    read_exact(tcp, &mut vec![0; length + 2]).await
}

async fn authenticate(tcp: &TcpStream, credentials: &Credentials) -> Result<(), String> {
    let mut message = vec![1];
    for text in [credentials.user.as_str(), credentials.password.expose()] {
        let length = u8::try_from(text.len()).map_err(|_| "the proxy's password is too long for SOCKS 5")?;
        message.push(length);
        message.extend_from_slice(text.as_bytes());
    }
    write_all(tcp, &message).await?;
    let mut answer = [0; 2];
    read_exact(tcp, &mut answer).await?;
    if answer[1] == 0 { Ok(()) } else { Err("the proxy refused the user name and password".into()) }
}

fn request(to: &Origin) -> Result<Vec<u8>, String> {
    let mut message = vec![5, 1, 0];
    match to.ip() {
        Some(IpAddr::V4(ip)) => {
            message.push(1);
            message.extend_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            message.push(4);
            message.extend_from_slice(&ip.octets());
        }
        None => {
            let length = u8::try_from(to.host().len()).map_err(|_| "the name is too long for SOCKS 5")?;
            message.extend_from_slice(&[3, length]);
            message.extend_from_slice(to.host().as_bytes());
        }
    }
    message.extend_from_slice(&to.port().to_be_bytes());
    Ok(message)
}

/// RFC 1928 §6.
fn reason(code: u8) -> String {
    match code {
        1 => "it failed".into(),
        2 => "its rules do not allow it".into(),
        3 => "network unreachable".into(),
        4 => "host unreachable, or the name did not resolve".into(),
        5 => "connection refused".into(),
        6 => "it took too long".into(),
        7 => "it does not connect for others".into(),
        8 => "it does not know that kind of address".into(),
        other => format!("code {other}"),
    }
}
