// Package hosts tests a network of many hosts: validators, providers, checkers, indexers
// and clients, each a process of gotong with an address of its own, two of them behind
// routers, one far away and one on a bad line. Hosts are network namespaces made by
// internal/netlab.
//
// Each row of the table takes something away from a running network, as real networks
// do, and holds that no work, money or honest bond is lost. The rows share two networks,
// which stand side by side, and leave them whole. The short form runs with every test;
// the full form is `make e2e`, which ends with the count of rows that held. A row's draws
// come from a seed that is printed; -seed runs it again.
//
// The package holds tests only, and needs root, iproute2 and nftables: without them it
// fails rather than skip.
package hosts
