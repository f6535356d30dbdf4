//! What names a certificate: the SHA-256 of all of it, and of its public key.

use sha2::{Digest as _, Sha256};

/// The digests of a certificate that was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presented {
    /// SHA-256 of the certificate, DER.
    pub(crate) certificate: [u8; 32],
    /// SHA-256 of its SubjectPublicKeyInfo, DER; of nothing in a certificate that cannot be read.
    pub(crate) key: [u8; 32],
}

impl Presented {
    pub(crate) fn of(certificate: &[u8]) -> Self {
        Self {
            certificate: Sha256::digest(certificate).into(),
            key: Sha256::digest(public_key(certificate).unwrap_or_default()).into(),
        }
    }
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;

/// The SubjectPublicKeyInfo of a certificate, with its tag and length: what stands after the subject (RFC 5280 §4.1).
fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (_, outer, _) = element(certificate, SEQUENCE)?;
    let (_, body, _) = element(outer, SEQUENCE)?;
    let mut rest = match body.first()? {
        &VERSION => element(body, VERSION)?.2,
        _ => body,
    };
    // Serial number, signature algorithm, issuer, validity, subject.
    for tag in [0x02, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = element(rest, tag)?.2;
    }
    Some(element(rest, SEQUENCE)?.0)
}

/// The first DER element of `bytes`, which has to have this tag: all of it, its content, and what follows.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8], &[u8])> {
    let (&found, after_tag) = bytes.split_first()?;
    let (&first, after_length) = after_tag.split_first()?;
    let (header, length) = match first {
        short @ 0..=0x7F => (2, usize::from(short)),
        long @ 0x81..=0x84 => {
            let digits = after_length.get(..usize::from(long & 0x7F))?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            (2 + digits.len(), length)
        }
        _ => return None,
    };
    let end = header.checked_add(length)?;
    let content = bytes.get(header..end)?;
    (found == tag).then(|| (&bytes[..end], content, &bytes[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an element of this tag and content looks like.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        match content.len() {
            short @ 0..=0x7F => bytes.push(short as u8),
            long => bytes.extend([0x82, (long >> 8) as u8, long as u8]),
        }
        bytes.extend(content);
        bytes
    }

    fn certificate(version: bool, key: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        if version {
            body.extend(der(VERSION, &der(0x02, &[2])));
        }
        body.extend(der(0x02, &[1, 2, 3]));
        (0..4).for_each(|_| body.extend(der(SEQUENCE, &[0x05, 0x00])));
        body.extend(key);
        body.extend(der(0xA3, &[0; 200]));
        let signed = [der(SEQUENCE, &body), der(SEQUENCE, &[]), der(0x03, &[0; 65])].concat();
        der(SEQUENCE, &signed)
    }

    #[test]
    fn the_key_is_found_in_certificates_of_either_version() {
        let key = der(SEQUENCE, &[7; 300]);
        for version in [true, false] {
            let certificate = certificate(version, &key);
            assert_eq!(public_key(&certificate), Some(&key[..]));
            let presented = Presented::of(&certificate);
            assert_eq!(presented.key, <[u8; 32]>::from(Sha256::digest(&key)));
            assert_ne!(presented.key, presented.certificate);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_key() {
        let whole = certificate(true, &der(SEQUENCE, &[7; 300]));
        for end in 0..whole.len() {
            assert_eq!(public_key(&whole[..end]), None, "{end}");
        }
        assert_eq!(public_key(&[0x30, 0x80, 0, 0]), None);
        assert_eq!(public_key(&[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]), None);
    }
}
