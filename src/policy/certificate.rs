//! The certificate with which EC2 signs the identity documents of one region.

use std::fmt;

use aws_lc_rs::signature::{RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use webpki::EndEntityCert;

/// The public key of such a certificate. That it is the right one is the word of whoever put the file
/// there: it is signed by itself, and its dates say nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityKey(Vec<u8>);

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({} bytes)", self.0.len())
    }
}

impl IdentityKey {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let der = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|_| "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned())?;
        let certificate = EndEntityCert::try_from(&der)
            .map_err(|error| format!("holds a certificate that cannot be read: {error}"))?;
        let key = certificate.subject_public_key_info();
        aws_lc_rs::rsa::PublicKey::from_der(&key)
            .map_err(|_| "holds a certificate whose key is not RSA; take the one that AWS lists as RSA".to_owned())?;
        Ok(Self(key.to_vec()))
    }

    /// Whether `signature`, in base64, was made of `document` with this key: PKCS#1 v1.5, RSA, SHA-256.
    pub fn signed(&self, document: &[u8], signature: &str) -> bool {
        let signature: String = signature.split_ascii_whitespace().collect();
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        // AWS signs with a key of 1024 bits here; other libraries call that legacy, and so does this one.
        let key = UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &self.0);
        key.verify(document, &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made for this test: RSA of 1024 bits, as AWS's own; its key is thrown away.
    const SMALL: &str = "\
-----BEGIN CERTIFICATE-----
MIICCjCCAXOgAwIBAgIUNEyzl+JwEAhjKha5sRAX5jVgL3cwDQYJKoZIhvcNAQEL
BQAwFjEUMBIGA1UECgwLbGF0ZW50IHRlc3QwIBcNMjYxMTIxMTczNjE3WhgPMjEy
NjEwMjgxNzM2MTdaMBYxFDASBgNVBAoMC2xhdGVudCB0ZXN0MIGfMA0GCSqGSIb3
DQEBAQUAA4GNADCBiQKBgQCgnsMob6U+o9mF52Wc7KfqxfIC2RHEXYJa1D+VIMjP
XnJ1jjI4BlkeQuJi+2g6lDJduJS5tSIFqtBHTArNM5PRsweC7zdtgwrnIRs4XKKC
6ngnPwNj0q4/NTYcgsBbTnIwhWKxDQOuMY8IgzHlPyNkLl7TAe/vIRTT68IXtf2S
jQIDAQABo1MwUTAdBgNVHQ4EFgQUR0HsFn8MZ3TWqpiv7C1Pqy+IvrowHwYDVR0j
BBgwFoAUR0HsFn8MZ3TWqpiv7C1Pqy+IvrowDwYDVR0TAQH/BAUwAwEB/zANBgkq
hkiG9w0BAQsFAAOBgQCfr4wuF9zQVtdrjP2mPdvaFD//p/ZCB/lUbPsli//Qfrao
gcmfxL+Q2BXHCGnZuRiwxUDwhH8L0O06V6Y7MXvOySNHibd+7csXRzpBWMu//wyp
neDEP48d66+Vrr9VfIVJRQbBti6ejndm3Bg025ziQp0rEIu9Ia2p6NgDa0JtHw==
-----END CERTIFICATE-----
";
    const DOCUMENT: &[u8] = br#"{"instanceId" : "i-1"}"#;
    const SIGNATURE: &str = "\
dP8Qv99bWO8e/dn03CYfR95hn7D5xCS7k0RFK2filoEWWHtZiHvUKgTORKtCWD3UZXzk2iXXhwy9
/2LfkJ32BSZ2HGCduoIc8VM6YthXqdVRz5gW0NShlkQbZ0oEOOArEaxQ7LiZdLn3KoTRkIUfJnAm
n5QJwJebPrlvSVVkxKg=
";
    /// A key that is not RSA.
    const OTHER: &str = "\
-----BEGIN CERTIFICATE-----
MIIBhDCCASmgAwIBAgIUM54pwJJH/2Z9co0q+3/w8HwKOwYwCgYIKoZIzj0EAwIw
FjEUMBIGA1UECgwLbGF0ZW50IHRlc3QwIBcNMjYxMTIxMTczNjE3WhgPMjEyNjEw
MjgxNzM2MTdaMBYxFDASBgNVBAoMC2xhdGVudCB0ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEnk3kVN/BQxmWb8CmeM0Tyfi59aTmxr+kGiSY71eoGw6DIm4w
nJUI5f31uQO+r5GdrDUwki3CrCuuKBAzhXGaM6NTMFEwHQYDVR0OBBYEFIL49L/t
NyWDx7BCL5hH5VKqfbPIMB8GA1UdIwQYMBaAFIL49L/tNyWDx7BCL5hH5VKqfbPI
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAMTVFiAUw0J/+GxE
JtN0jDeCqzYV0vPn98pFpwWajoU6AiEApfAUhkgR5DFs46qZ/S9UO5Eo0htJP+JN
eQ3LTd4ZAZg=
-----END CERTIFICATE-----
";

    #[test]
    fn what_was_signed_is_known_and_nothing_else() {
        let key = IdentityKey::from_pem(SMALL).expect("a certificate");
        assert!(key.signed(DOCUMENT, SIGNATURE));
        assert!(key.signed(DOCUMENT, &SIGNATURE.replace('\n', "")), "the lines of base64 say nothing");
        for (document, signature) in [
            (&b"{\"instanceId\" : \"i-2\"}"[..], SIGNATURE),
            (&DOCUMENT[1..], SIGNATURE),
            (DOCUMENT, ""),
            (DOCUMENT, "no base64!"),
            (DOCUMENT, &SIGNATURE[4..]),
        ] {
            assert!(!key.signed(document, signature));
        }
    }

    #[test]
    fn what_is_no_certificate_of_an_rsa_key_is_refused_in_words() {
        for (text, why) in [("", "no certificate in PEM form"), (OTHER, "not RSA")] {
            let error = IdentityKey::from_pem(text).expect_err("refused");
            assert!(error.contains(why), "{error}");
        }
        let broken = SMALL.replacen("MII", "MIA", 1);
        assert!(IdentityKey::from_pem(&broken).expect_err("refused").contains("cannot be read"));
    }
}
