package faults

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// cable is a virtual network cable of the kernel's. One end is on this machine,
// the other in a network namespace of its own, in which a rule can drop every
// packet. It needs root and nf_tables, and is gone with this process at the
// latest.
type cable struct {
	there   net.IP // the address in the namespace
	ns      netns.NsHandle
	dropped *nftables.Table // while it is cut
}

// errNoCable says that this machine, or this user, can have none.
var errNoCable = errors.New("no cable")

// newCable lays one. The number, up to 32767, tells it from all others on the
// machine: it has four addresses of 198.18.0.0/15, which are for such tests
// (RFC 2544).
func newCable(number int) (c *cable, err error) {
	c = &cable{ns: netns.None()}
	defer func() {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EOPNOTSUPP) {
			err = fmt.Errorf("%w: %w", errNoCable, err)
		}
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	address := func(n int) *net.IPNet {
		n += 4 * number
		return &net.IPNet{IP: net.IPv4(198, 18+byte(n>>16), byte(n>>8), byte(n)).To4(), Mask: net.CIDRMask(30, 32)}
	}
	c.there = address(2).IP
	if err := elsewhere(func() (err error) { c.ns, err = netns.New(); return err }); err != nil {
		return c, fmt.Errorf("network namespace: %w", err)
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = fmt.Sprintf("teal%d", number)
	err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "teal", PeerNamespace: netlink.NsFd(int(c.ns))})
	if err != nil {
		return c, fmt.Errorf("virtual cable: %w", err)
	}
	inside, err := netlink.NewHandleAt(c.ns)
	if err != nil {
		return c, err
	}
	defer inside.Close()
	here, err := netlink.NewHandle()
	if err != nil {
		return c, err
	}
	defer here.Close()
	return c, errors.Join(plug(here, attributes.Name, address(1)), plug(inside, "teal", address(2)))
}

// plug gives one end its address.
func plug(at *netlink.Handle, name string, address *net.IPNet) error {
	link, err := at.LinkByName(name)
	if err != nil {
		return fmt.Errorf("end %s of a cable: %w", name, err)
	}
	return errors.Join(at.AddrAdd(link, &netlink.Addr{IPNet: address}), at.LinkSetUp(link))
}

// listen opens a port on the other end. Whoever connects to it does so over
// the cable; it is served here.
func (c *cable) listen() (listener net.Listener, err error) {
	err = elsewhere(func() error {
		if err := netns.Set(c.ns); err != nil {
			return err
		}
		listener, err = net.Listen("tcp4", net.JoinHostPort(c.there.String(), "0"))
		return err
	})
	return listener, err
}

// cut has the kernel drop every packet at the other end, in both directions.
func (c *cable) cut() error {
	rules, err := nftables.New(nftables.WithNetNSFd(int(c.ns)))
	if err != nil {
		return err
	}
	c.dropped = rules.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "cut"})
	for name, hook := range map[string]*nftables.ChainHook{"input": nftables.ChainHookInput, "output": nftables.ChainHookOutput} {
		chain := rules.AddChain(&nftables.Chain{
			Name: name, Table: c.dropped, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter,
		})
		rules.AddRule(&nftables.Rule{Table: c.dropped, Chain: chain, Exprs: []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}})
	}
	return rules.Flush()
}

// mend lets packets through again, and says how many were dropped.
func (c *cable) mend() (packets uint64, err error) {
	if c.dropped == nil {
		return 0, nil
	}
	rules, err := nftables.New(nftables.WithNetNSFd(int(c.ns)))
	if err != nil {
		return 0, err
	}
	chains, err := rules.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return 0, err
	}
	for _, chain := range chains {
		all, err := rules.GetRules(c.dropped, chain)
		if err != nil {
			return 0, err
		}
		for _, r := range all {
			for _, e := range r.Exprs {
				if n, ok := e.(*expr.Counter); ok {
					packets += n.Packets
				}
			}
		}
	}
	rules.DelTable(c.dropped)
	c.dropped = nil
	return packets, rules.Flush()
}

// close takes the cable away: with the namespace go its end, and the other one.
func (c *cable) close() error {
	if !c.ns.IsOpen() {
		return nil
	}
	return c.ns.Close()
}

// elsewhere runs do on a thread of its own, which may go to another namespace:
// it comes back, or ends.
func elsewhere(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- err
			return
		}
		err = do()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		done <- errors.Join(err, home.Close())
	}()
	return <-done
}
