package properties

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"hash"

	"github.com/sluice-kafka/sluice/internal/tlsfiles"
)

// An encrypted PKCS#8 key (RFC 5958) with PBES2 (RFC 8018): PBKDF2, then AES or 3DES in CBC. That is what OpenSSL and keytool
// write. crypto/x509 does not read it.

type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

type pbes2 struct{ KDF, Cipher pkix.AlgorithmIdentifier }

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

var prfs = map[string]func() hash.Hash{
	"":                    sha1.New, // the default
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
}

var ciphers = map[string]struct {
	key int
	new func([]byte) (cipher.Block, error)
}{
	"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
	"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
}

// decryptPKCS8 returns the key as PKCS#8 that is not encrypted.
func decryptPKCS8(der []byte, password string) ([]byte, error) {
	if password == "" {
		return nil, errors.New("ssl.key.password is not set")
	}
	var key encryptedKey
	var scheme pbes2
	var kdf pbkdf2Params
	var iv []byte
	if rest, err := asn1.Unmarshal(der, &key); err != nil || len(rest) > 0 {
		return nil, errors.New("it is damaged")
	}
	if !key.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, errors.New("it is encrypted in an old way: write it anew (openssl pkcs8 -topk8 -v2 aes-256-cbc)")
	}
	if _, err := asn1.Unmarshal(key.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil, errors.New("it is damaged")
	}
	if !scheme.KDF.Algorithm.Equal(oidPBKDF2) {
		return nil, errors.New("its password is hashed with something other than PBKDF2")
	}
	if _, err := asn1.Unmarshal(scheme.KDF.Parameters.FullBytes, &kdf); err != nil {
		return nil, errors.New("it is damaged")
	}
	if _, err := asn1.Unmarshal(scheme.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, errors.New("it is damaged, or its cipher is not known here")
	}
	prf, ok := prfs[kdf.PRF.Algorithm.String()]
	if !ok {
		return nil, errors.New("its hash is not known here")
	}
	c, ok := ciphers[scheme.Cipher.Algorithm.String()]
	if !ok {
		return nil, errors.New("its cipher is not AES or 3DES in CBC")
	}
	if kdf.Iterations < 1 || kdf.Iterations > tlsfiles.MostIterations {
		return nil, errors.New("its number of iterations is out of bounds")
	}
	secret, err := pbkdf2.Key(prf, password, kdf.Salt, kdf.Iterations, c.key)
	if err != nil {
		return nil, err
	}
	block, err := c.new(secret)
	if err != nil {
		return nil, err
	}
	size := block.BlockSize()
	if len(iv) != size || len(key.Data) == 0 || len(key.Data)%size != 0 {
		return nil, errors.New("it is damaged")
	}
	plain := make([]byte, len(key.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, key.Data)
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > size {
		return nil, errors.New("the password is wrong")
	}
	for _, b := range plain[len(plain)-padding:] {
		if int(b) != padding {
			return nil, errors.New("the password is wrong")
		}
	}
	return plain[:len(plain)-padding], nil
}
