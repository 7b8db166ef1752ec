// Package produceset holds the open batches of a broker producer: one record batch v2 a partition, encoded record by
// record into pooled buffers, sealed (compressed) and stamped (identity, CRC) on the network side of the bridge, and
// kept as sealed bytes until its fate is decided, so that a resend carries the same bytes.
//
// A record's way through here: [Batch.AppendRun] encodes it once, or [Batch.Append] if it needs care; [Batch.Seal]
// compresses what was appended; [Batch.SetIdentity] says which producer and sequence it is written under, as often as
// that changes; [Batch.Frame] is what goes on the wire; [Batch.Split] halves what a broker finds too large;
// [Batch.Release] gives all of it back. A batch has one owner at a time and is handed on, whole: two goroutines never use
// it at once.
//
// The package promises no compatibility.
package produceset
