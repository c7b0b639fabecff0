/// What the stages of tx hand to each other.
package sluice_tx_pkg;
  import sluice_pkg::*;

  /// One frame to build: what its header is to say. Offsets from the frame's first byte.
  typedef struct packed {
    logic             bad;        // nothing to build: the job was malformed
    logic             job_last;   // last frame of its job
    logic [CoreW-1:0] core;
    logic             tcp;        // overrides apply
    logic             roce;       // lengths, no UDP checksum, ICRC
    raw_checksum_e    sum;        // L4 checksum to fill in
    logic             timestamps;
    logic [7:0]       l3;
    logic [7:0]       l4;
    logic [13:0]      frame_len;
    logic [7:0]       flags;
    logic [15:0]      window;
    logic [31:0]      seq;
    logic [31:0]      ack;
    logic [31:0]      ts_val;
    logic [31:0]      ts_ecr;
  } frame_t;

  /// A frame in the ring, complete but for its checksums.
  typedef struct packed {
    logic [13:0] len;
    logic        ip_en;
    logic [8:0]  ip_at;   // even
    logic [15:0] ip_sum;
    logic        l4_en;
    logic [8:0]  l4_at;   // even
    logic [15:0] l4_sum;
    logic        icrc_en; // never with l4_en
    logic [31:0] icrc;    // the frame's last four bytes, first byte low
  } record_t;
endpackage : sluice_tx_pkg
