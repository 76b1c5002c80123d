//! Amazon's signature, version 4: a request signed by somebody's key, for a quarter of an hour and for that request only.
//!
//! Follows <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>, in what a call to a
//! model needs: the whole body is at hand and is signed, paths have no dots to resolve, and only the header fields that the
//! signature itself is about are signed, since proxies change the others. It reads no clock: the time comes in.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use loquat_core::{Error, ErrorKind, Result, Secret};
use ring::{digest, hmac};

use crate::{Outgoing, encode::escaped};

/// A key pair of Amazon's, to sign requests with: turned into a [`Secret`], it stands wherever a key for Bedrock may.
/// `Debug` shows the id and the region.
///
/// ```
/// use loquat_core::Secret;
/// use loquat_provider::AwsCredentials;
///
/// let key: Secret = AwsCredentials::new("AKIDEXAMPLE", "secret").with_region("eu-central-1").into();
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AwsCredentials {
    /// The key's public name.
    pub access_key_id: String,
    /// What signs, and is never sent.
    pub secret_access_key: Secret,
    /// What comes with keys that last for some hours.
    pub session_token: Option<Secret>,
    /// The region to sign for; `None` takes it from the address, `bedrock-runtime.REGION.amazonaws.com`.
    pub region: Option<String>,
    /// The region to sign for where neither is known: at a proxy, or an address of one's own.
    pub default_region: Option<String>,
}

/// What a [`Secret`] begins with that is one of these; no header may carry a line break, so that it is nobody's key.
const MARK: &str = "aws4\n";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "bedrock";

impl AwsCredentials {
    /// A key pair that lasts.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<Secret>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
            region: None,
            default_region: None,
        }
    }

    /// With the token that comes with a key for some hours.
    #[must_use]
    pub fn with_session_token(mut self, token: impl Into<Secret>) -> Self {
        self.session_token = Some(token.into());
        self
    }

    /// For that region, whatever the address says.
    #[must_use]
    pub fn with_region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// For that region where the address does not say.
    #[must_use]
    pub fn with_default_region(mut self, region: impl Into<String>) -> Self {
        self.default_region = Some(region.into());
        self
    }

    /// The credentials in a secret that was made of some.
    pub(crate) fn read(secret: &Secret) -> Option<Self> {
        let mut parts = secret.expose().strip_prefix(MARK)?.split('\n');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let (id, secret, token, region, default_region) = (next()?, next()?, next(), next(), next());
        let mut credentials = Self::new(id, secret);
        credentials.session_token = token.map(Secret::new);
        credentials.region = region.map(str::to_owned);
        credentials.default_region = default_region.map(str::to_owned);
        Some(credentials)
    }
}

impl From<AwsCredentials> for Secret {
    fn from(credentials: AwsCredentials) -> Self {
        let token = credentials.session_token.as_ref().map_or("", Secret::expose);
        let or_none = |region: &'_ Option<String>| region.as_deref().unwrap_or_default().trim().to_owned();
        let key = [&credentials.access_key_id, credentials.secret_access_key.expose(), token].map(str::trim);
        let regions = [or_none(&credentials.region), or_none(&credentials.default_region)];
        Secret::new(format!("{MARK}{}\n{}", key.join("\n"), regions.join("\n")))
    }
}

impl std::fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsCredentials")
            .field("access_key_id", &self.access_key_id)
            .field("region", &self.region)
            .field("default_region", &self.default_region)
            .finish_non_exhaustive()
    }
}

/// Signs a call to Bedrock, if the secret holds Amazon's credentials; `false` if it is another key.
pub(crate) fn sign(
    outgoing: &Outgoing<'_>,
    secret: &Secret,
    now: SystemTime,
    headers: &mut HeaderMap,
) -> Result<bool> {
    let Some(credentials) = AwsCredentials::read(secret) else { return Ok(false) };
    let told = credentials.region.as_deref().or_else(|| region_of(outgoing.host));
    let region = told.or(credentials.default_region.as_deref()).ok_or_else(|| {
        let why = "the address does not tell the region to sign for: give AwsCredentials one";
        Error::new(ErrorKind::NotConfigured, why)
    })?;
    const DATE: HeaderName = HeaderName::from_static("x-amz-date");
    const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
    let unfit =
        |_| Error::new(ErrorKind::Authentication, "the credential has characters that no header may carry");
    let signer = Signer { credentials: &credentials, region, service: SERVICE, stamp: stamp(now) };
    let mut signed = vec![("host", outgoing.host.to_owned()), ("x-amz-date", signer.stamp.clone())];
    headers.insert(DATE, HeaderValue::try_from(&signer.stamp).map_err(unfit)?);
    if let Some(token) = &credentials.session_token {
        let mut value = HeaderValue::try_from(token.expose()).map_err(unfit)?;
        value.set_sensitive(true);
        headers.insert(TOKEN, value);
        signed.push(("x-amz-security-token", token.expose().to_owned()));
    }
    let mut value = HeaderValue::try_from(signer.authorization(outgoing, &mut signed)).map_err(unfit)?;
    value.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, value);
    Ok(true)
}

/// `bedrock-runtime.eu-central-1.amazonaws.com`, with `-fips` or without; `….vpce.amazonaws.com`, a private address's; `….api.aws`.
fn region_of(host: &str) -> Option<&str> {
    let mut labels = host.split('.').skip_while(|label| !label.starts_with("bedrock"));
    labels.next()?;
    let region = labels.next()?;
    let is_amazons = match labels.next()? {
        "vpce" => labels.next() == Some("amazonaws"),
        "api" => labels.next() == Some("aws"),
        label => label == "amazonaws",
    };
    is_amazons.then_some(region)
}

struct Signer<'a> {
    credentials: &'a AwsCredentials,
    region: &'a str,
    service: &'a str,
    /// `20150830T123600Z`
    stamp: String,
}

impl Signer<'_> {
    /// The value of `Authorization`, over these header fields, whose names are in small letters.
    fn authorization(&self, outgoing: &Outgoing<'_>, headers: &mut [(&str, String)]) -> String {
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let request = canonical(outgoing, headers, &names);
        let day = self.stamp.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{}", self.stamp, hash(request.as_bytes()));
        let secret = format!("AWS4{}", self.credentials.secret_access_key.expose());
        let key = [day, self.region, self.service, "aws4_request"]
            .iter()
            .fold(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), |key, part| {
                hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
            });
        let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
        let id = &self.credentials.access_key_id;
        format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

/// The request as both sides write it before they sign.
fn canonical(outgoing: &Outgoing<'_>, headers: &[(&str, String)], names: &str) -> String {
    // Escaped once more than it is sent, as every service but S3 wants it.
    let path = outgoing.path.split('/').map(escaped).collect::<Vec<_>>().join("/");
    let mut query: Vec<(&str, &str)> = outgoing
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    query.sort_unstable();
    let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut text = format!("{}\n{path}\n{}\n", outgoing.method, query.join("&"));
    for (name, value) in headers {
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        text.push_str(&format!("{name}:{}\n", words.join(" ")));
    }
    text.push_str(&format!("\n{names}\n{}", hash(outgoing.body)));
    text
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The time as ISO 8601's basic format in UTC; 1970 for one before.
fn stamp(now: SystemTime) -> String {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>, for days since 1970 and not before.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    /// Sun, 30 Aug 2015 12:36:00 GMT, when all of Amazon's examples are signed.
    const NOW: Duration = Duration::from_secs(1_440_938_160);

    fn check(method: &Method, path: &str, query: &str, body: &str, signature: &str) {
        let credentials = AwsCredentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let stamp = stamp(SystemTime::UNIX_EPOCH + NOW);
        let signer = Signer { credentials: &credentials, region: "us-east-1", service: "service", stamp };
        let host = "example.amazonaws.com";
        let mut signed = vec![("host", host.to_owned()), ("x-amz-date", signer.stamp.clone())];
        let outgoing = Outgoing { method, host, path, query, body: body.as_bytes() };
        let said = signer.authorization(&outgoing, &mut signed);
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={}, Signature={signature}",
            names.join(";")
        );
        assert_eq!(said, expected, "{method} {path}?{query}");
    }

    // Of Amazon's own suite, `aws-sig-v4-test-suite`: get-vanilla, post-vanilla, get-vanilla-query-order-key-case.
    #[test]
    fn amazons_vectors() {
        check(&Method::GET, "/", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        check(&Method::POST, "/", "", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
        check(
            &Method::GET,
            "/",
            "Param2=value2&Param1=value1",
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        );
    }

    // What Amazon's own client for Python (botocore 1.43) signs.
    #[test]
    fn paths_are_escaped_twice_and_bodies_signed() {
        check(
            &Method::POST,
            "/model/a.b-v1%3A0/converse",
            "x=1&a=%2F",
            r#"{"a":1}"#,
            "19cf8be3e676067b12bf1bbea27484f3dadf72962944c01ba8eaba56c774c118",
        );
    }

    #[test]
    fn stamps() {
        let stamp = |seconds| stamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_735_689_599, "20241231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(stamp(seconds), expected);
        }
    }

    #[test]
    fn credentials_are_a_secret_and_back() {
        let plain = AwsCredentials::new("id", "secret");
        let all = plain.clone().with_session_token("token").with_region("eu-west-1");
        let default = plain.clone().with_default_region("eu-west-2");
        let both = all.clone().with_default_region("eu-west-2");
        for credentials in [plain.clone(), all, default, both, plain.with_region("eu-west-1")] {
            assert_eq!(AwsCredentials::read(&credentials.clone().into()), Some(credentials));
        }
        assert_eq!(AwsCredentials::read(&Secret::new("a-bearers-key")), None);
    }

    #[test]
    fn the_parts_of_a_key_pair_are_secrets_and_the_region_is_none() {
        let pair = AwsCredentials::new("id", "secret").with_region("eu-west-1");
        let secrets = |key: Secret| {
            crate::secrets_in(&key).iter().map(|part| part.expose().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(secrets(pair.clone().into()), ["id", "secret"]);
        assert_eq!(secrets(pair.with_session_token("token").into()), ["id", "secret", "token"]);
        assert_eq!(secrets(Secret::new("a-bearers-key")), ["a-bearers-key"]);
    }

    #[test]
    fn the_address_tells_the_region() {
        assert_eq!(region_of("bedrock-runtime.eu-central-1.amazonaws.com"), Some("eu-central-1"));
        assert_eq!(region_of("bedrock-runtime-fips.us-east-1.amazonaws.com"), Some("us-east-1"));
        let private = "vpce-0a1b-2c3d.bedrock-runtime.eu-west-3.vpce.amazonaws.com";
        assert_eq!(region_of(private), Some("eu-west-3"));
        assert_eq!(region_of("bedrock-runtime.us-west-2.api.aws"), Some("us-west-2"));
        assert_eq!(region_of("127.0.0.1:8080"), None);
        assert_eq!(region_of("bedrock.internal"), None);
        assert_eq!(region_of("bedrock-runtime.eu-west-3.example.com"), None);
        assert_eq!(region_of("proxy.eu-central-1.example.com"), None);
    }

    #[test]
    fn what_is_said_first_is_signed_for() {
        let signed = |credentials: AwsCredentials, host: &str| {
            let mut headers = HeaderMap::new();
            let outgoing = Outgoing::new(&Method::POST, host, "/model/m/converse", b"{}");
            sign(&outgoing, &credentials.into(), SystemTime::UNIX_EPOCH, &mut headers)
                .map(|_| headers[header::AUTHORIZATION].to_str().expect("a text").to_owned())
        };
        let pair = || AwsCredentials::new("id", "secret");
        let default = || pair().with_default_region("eu-west-2");
        let (amazons, own) = ("bedrock-runtime.eu-west-1.amazonaws.com", "bedrock.internal");
        for (credentials, host, region) in [
            (default(), own, "eu-west-2"),
            (default(), amazons, "eu-west-1"),
            (default().with_region("eu-west-3"), amazons, "eu-west-3"),
            (default().with_region("eu-west-3"), own, "eu-west-3"),
        ] {
            let authorization = signed(credentials, host).expect("told");
            assert!(authorization.contains(&format!("/{region}/bedrock/")), "{authorization}");
        }
        assert_eq!(signed(pair(), own).map_err(|error| error.kind()), Err(ErrorKind::NotConfigured));
    }
}
