/// What the stages of rx hand to each other.
package sluice_rx_pkg;
  import sluice_pkg::*;

  /// A frame as it lies in the input ring, judged.
  typedef struct packed {
    logic             drop;
    rx_drop_e         reason;   // valid with drop
    logic [9:0]       words;    // ring words it occupies
    logic [CoreW-1:0] core;     // whom it is for
    rx_desc_t         desc;     // but for the buffer number
  } record_t;

  /// What was found in a frame, nothing judged yet. 32-bit words as big-endian numbers.
  typedef struct packed {
    logic [13:0]      len;       // saturates beyond RxFrameMax
    logic [9:0]       words;     // ring words it occupies
    logic             mac_ok;
    logic [15:0]      ether_type; // behind the tag, if there is one
    logic             vlan;
    logic [31:0]      first;     // the 4 bytes behind the first EtherType field
    logic [9:0][31:0] l3;        // IP header
    logic [9:0][31:0] l4;        // TCP, UDP or ICMP header; of RoCE what follows UDP's as well
    logic [3:0]       l3_words;  // length of the IP header in 32-bit words
    logic [16:0]      ip_end;    // frame length by the IP header
    logic [31:0]      ip_sum;    // over the IPv4 header
    logic [31:0]      l4_sum;    // over addresses and the IP payload; without addresses for ICMPv4
    logic [31:0]      icrc;      // register of the CRC over the IP packet, its ICRC included
  } facts_t;
endpackage : sluice_rx_pkg
