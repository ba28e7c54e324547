package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gotong-network/gotong/work"
)

// Write makes DIR/index.html, a page that needs nothing but itself, and
// DIR/result.json, all numbers of it. Equal results give equal files.
func (r *Result) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "result.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.html"), []byte(r.page()), 0o644)
}

const pageHead = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gotong: a simulated network</title>
<style>
:root{color-scheme:light dark;--ink:#1b1f23;--faint:#6a737d;--rule:#d9dee3;--ground:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--faint:#98a1aa;--rule:#353b41;--ground:#15181b}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:1100px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem;margin-bottom:0}h2{margin-top:2.4rem;border-bottom:1px solid var(--rule)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem;display:block;overflow-x:auto}
th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{color:var(--faint);font-weight:600}
figure{margin:1rem 0;display:inline-block;vertical-align:top;width:min(100%,720px)}
figcaption{font-weight:600}svg{width:100%;height:auto}
svg polyline{fill:none;stroke-width:1.6}svg line{stroke:var(--rule);stroke-width:.6}
svg text{font-size:11px;fill:var(--faint)}
.grid figure{width:190px;margin:.3rem}.grid figcaption{font-size:.8rem}
.legend span{margin-right:.9rem;font-size:.85rem;white-space:nowrap}.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.3em;border-radius:2px}
.note,.lead{color:var(--faint)}.note{font-size:.85rem;margin-top:0}
</style></head><body>
`

// page is the report as HTML.
func (r *Result) page() string {
	var b strings.Builder
	b.WriteString(pageHead)
	fmt.Fprintf(&b, "<h1>A simulated network</h1>\n<p class=\"lead\">%s providers, %s checkers, %d validators, %d days, seed %d. Times are UTC, money is in gtg, a grain is what the median device of a class executes in five minutes.</p>\n",
		group(uint64(r.Providers)), group(uint64(r.Checkers)), r.Validators, len(r.Days), r.Seed)
	for _, part := range []func(*strings.Builder){r.summary, r.cheats, r.checking, r.market, r.prices, r.supply, r.concentrated, r.chain} {
		part(&b)
	}
	b.WriteString("</body></html>\n")
	return b.String()
}

// table writes rows; the first cell of each is its head.
func table(b *strings.Builder, head []string, rows [][]string) {
	b.WriteString("<table><thead><tr>")
	for _, h := range head {
		b.WriteString("<th>" + h + "</th>")
	}
	b.WriteString("</tr></thead><tbody>\n")
	for _, row := range rows {
		b.WriteString("<tr>")
		for _, v := range row {
			b.WriteString("<td>" + v + "</td>")
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</tbody></table>\n")
}

// share is a/b in percent.
func share(a, b uint64) string { return decimal(int64(ratio(a, b, 1_000_000)), 10_000) + " %" }

// ratio is ⌊a × per / b⌋, 0 of nothing.
func ratio(a, b, per uint64) uint64 {
	if b == 0 {
		return 0
	}
	return must64(a, per, b)
}

func gtg(a work.Amount) string { return group(uint64(a) / work.UgtgPerGtg) }

// daily makes a line of a number of each day.
func (r *Result) daily(name string, f func(*Day) uint64) line {
	l := line{name: name}
	for i := range r.Days {
		l.values = append(l.values, int64(f(&r.Days[i])))
	}
	return l
}

func (r *Result) summary(b *strings.Builder) {
	t := &r.Total
	b.WriteString("<h2>In short</h2>\n")
	table(b, []string{"", ""}, [][]string{
		{"batches; per provider and day", group(t.Batches) + "; " + decimal(int64(ratio(t.Batches, uint64(r.Providers*len(r.Days)), 100)), 100)},
		{"work units executed (1e9 fuel each)", group(t.Units)},
		{"wrong results accepted, of all items", fmt.Sprintf("%s of %s: %s per million", group(t.WrongItems), group(t.Items), group(ratio(t.WrongItems, t.Items, 1_000_000)))},
		{"checking: fees, of what work was paid; fuel, of what was executed", share(uint64(t.CheckFees), uint64(t.Pay)) + "; " + share(t.CheckUnits, t.Units)},
		{"utilisation of what was online", share(t.GrainsServed, t.GrainsOffered)},
		{"demand that waited a day and went away", share(t.GrainsDropped, t.GrainsWanted)},
		{"fairness of load (Jain), mean over markets", fmt.Sprintf("%.3f", r.Jain)},
		{"median session", fmt.Sprintf("%d h", median(t.SessionHours[:]))},
		{"from commit to pay, mean", decimal(int64(ratio(t.PayBlocks, t.Settled, 5)), 60) + " min"},
		{"burned as fees; slashed and burned; minted for work; for the commons", fmt.Sprintf("%s; %s; %s; %s", gtg(t.FeeBurn), gtg(t.SlashBurn), gtg(t.Minted), gtg(t.CommonsMinted))},
		{"honest providers slashed for an outage in the middle of a check", fmt.Sprintf("%s times, %s of what they earned", group(t.HonestSilences), share(uint64(t.HonestLost), uint64(t.Kinds[Honest].Income)))},
		{"chain: messages and bytes per batch", fmt.Sprintf("%s; %s", decimal(int64(ratio(t.Messages, t.Batches, 100)), 100), group(ratio(t.Bytes, t.Batches, 1)))},
	})
}

// median is the bucket in which half of the weight is reached.
func median(v []uint64) int { return quantile(v, 500) }

func quantile(v []uint64, permille uint64) int {
	var sum, seen uint64
	for _, n := range v {
		sum += n
	}
	for i, n := range v {
		if seen += n; seen*1000 >= sum*permille {
			return i
		}
	}
	return len(v) - 1
}

func (r *Result) cheats(b *strings.Builder) {
	b.WriteString("<h2>Cheats and honest providers</h2>\n<p>Profit is what a kind earned, less what it lost and what executing cost it, for 1,000 work units that its machines could have done. A cheat that loses its whole bond comes back three days later under another name, if it can pay a new bond. Expected is the closed form of <code>incentive</code>.</p>\n")
	var rows [][]string
	for k := range kinds {
		t := &r.Total.Kinds[k]
		seen, want := "", ""
		if t.Faked > 0 {
			seen, want = share(t.Caught, t.Faked), share(t.ExpectE9/1_000_000, t.Faked*1000)
		}
		rows = append(rows, []string{k.String(), group(uint64(r.Members[k])), group(t.Batches), group(t.Faked), group(t.Caught), seen, want,
			gtg(t.Income), gtg(t.Lost), gtg(t.Cost), decimal(t.Profit(), work.UgtgPerGtg)})
	}
	table(b, []string{"kind", "identities", "batches", "with fakes", "caught", "seen", "expected", "earned", "lost", "spent", "profit"}, rows)
	c := chart{title: "Profit per 1,000 work units of capacity, since the start", unit: "gtg", every: work.UgtgPerGtg, xunit: "day", zero: true}
	for k := range kinds {
		if r.Members[k] == 0 {
			continue
		}
		l := line{name: k.String()}
		for i := range r.Days {
			l.values = append(l.values, r.Days[i].Profits[k])
		}
		c.lines = append(c.lines, l)
	}
	b.WriteString(c.svg())
	c = chart{title: "Wrong results accepted", unit: "per million items of the day", xunit: "day", zero: true, lines: []line{
		r.daily("", func(d *Day) uint64 { return ratio(d.WrongItems, d.Items, 1_000_000) })}}
	b.WriteString(c.svg())
	rows = nil
	for k := range checkerKinds {
		rows = append(rows, []string{k.String(), group(uint64(r.CheckerCount[k])), gtg(r.CheckerEarned[k]), gtg(r.CheckerLost[k])})
	}
	table(b, []string{"checkers", "number", "earned", "lost"}, rows)
}

func (r *Result) checking(b *strings.Builder) {
	b.WriteString("<h2>Cost of checking</h2>\n<p>A provider with unvested pay may pledge it for draws: fewer of its items are drawn, and it loses more if one is wrong.</p>\n")
	c := chart{title: "Cost of checking, of pay and of fuel", unit: "%", every: 10_000, xunit: "day", zero: true, lines: []line{
		r.daily("fees, of pay", func(d *Day) uint64 { return ratio(uint64(d.CheckFees), uint64(d.Pay), 1_000_000) }),
		r.daily("fuel, of fuel", func(d *Day) uint64 { return ratio(d.CheckUnits, d.Units, 1_000_000) })}}
	b.WriteString(c.svg())
	c = chart{title: "Draws per batch", unit: "draws", every: 1000, xunit: "day", zero: true, lines: []line{
		r.daily("", func(d *Day) uint64 { return ratio(d.Draws, d.Batches, 1000) })}}
	b.WriteString(c.svg())
}

func (r *Result) market(b *strings.Builder) {
	b.WriteString("<h2>Utilisation and waits</h2>\n")
	util := line{}
	for h := range r.Ticks {
		var served, supply uint64
		for i := range r.Cells {
			served += r.Cells[i].Hours[h].Served
			supply += r.Cells[i].Hours[h].Supply
		}
		util.values = append(util.values, int64(ratio(served, supply, 10_000)))
	}
	c := chart{title: "Utilisation of what is online", unit: "%", every: 100, xunit: "hour", zero: true, lines: []line{util}}
	b.WriteString(c.svg())
	var rows [][]string
	w := &r.Total.Waits
	var all, less uint64
	for _, n := range w {
		all += n
	}
	for i, n := range w {
		less += n
		if i == 0 || i == 1 || i == 3 || i == 6 || i == 12 || i == 23 {
			rows = append(rows, []string{fmt.Sprintf("within %d h", i+1), share(less, all)})
		}
	}
	table(b, []string{"work began", "share"}, rows)
	fmt.Fprintf(b, "<p>Half within %d h, 95 %% within %d h, 99 %% within %d h. Who waits longest is who would pay least: jobs have price caps.</p>\n", quantile(w[:], 500)+1, quantile(w[:], 950)+1, quantile(w[:], 990)+1)
}

func (r *Result) prices(b *strings.Builder) {
	b.WriteString("<h2>Prices by region and class, against supply and demand</h2>\n<p>Mean price in ugtg per work unit; below it demand as a share of supply, and Jain's index of the load of its honest providers.</p>\n")
	head, rows := []string{"class"}, [][]string{}
	for _, g := range regions {
		head = append(head, g.code)
	}
	for i := range classes {
		row := []string{string(classes[i].name)}
		for j := range regions {
			c := &r.Cells[i*len(regions)+j]
			row = append(row, fmt.Sprintf("%d<br><small>%d %% · %.2f</small>", c.Price, ratio(c.Wanted, c.Supply, 100), c.Jain))
		}
		rows = append(rows, row)
	}
	table(b, head, rows)
	fmt.Fprintf(b, "<p class=\"legend\">The last week, hour by hour: <span><i style=\"background:%s\"></i>price</span><span><i style=\"background:%s\"></i>demand</span><span><i style=\"background:%s\"></i>supply</span> demand and supply on one scale, the price on its own.</p><div class=\"grid\">\n", colours[0], colours[1], colours[2])
	for i := range r.Cells {
		b.WriteString(r.Cells[i].week())
	}
	b.WriteString("</div>\n")
}

// week draws the last seven days of a market. The price is brought onto the scale of
// the others.
func (c *Cell) week() string {
	hours := c.Hours[max(0, len(c.Hours)-7*ticksPerDay):]
	var most, dear uint64 = 1, 1
	for _, h := range hours {
		most, dear = max(most, h.Supply, h.Wanted), max(dear, uint64(h.Price))
	}
	price, demand, supply := line{name: "price"}, line{name: "demand"}, line{name: "supply"}
	for _, h := range hours {
		price.values = append(price.values, int64(ratio(uint64(h.Price), dear, 1000)))
		demand.values = append(demand.values, int64(ratio(h.Wanted, most, 1000)))
		supply.values = append(supply.values, int64(ratio(h.Supply, most, 1000)))
	}
	v := chart{title: fmt.Sprintf("%s %s", c.Region, c.Class), zero: true, bare: true, w: 180, h: 60, lines: []line{price, demand, supply}}
	return v.svg()
}

func (r *Result) supply(b *strings.Builder) {
	b.WriteString("<h2>Mint and burn</h2>\n")
	per := func(f func(*Day) work.Amount) func(*Day) uint64 {
		return func(d *Day) uint64 { return uint64(f(d)) / work.UgtgPerGtg }
	}
	c := chart{title: "Mint and burn per day", unit: "gtg", xunit: "day", zero: true, lines: []line{
		r.daily("minted for work", per(func(d *Day) work.Amount { return d.Minted })),
		r.daily("burned as fees", per(func(d *Day) work.Amount { return d.FeeBurn })),
		r.daily("minted for the commons", per(func(d *Day) work.Amount { return d.CommonsMinted })),
		r.daily("slashed and burned", per(func(d *Day) work.Amount { return d.SlashBurn }))}}
	b.WriteString(c.svg())
	c = chart{title: "Supply", unit: "gtg", xunit: "day", lines: []line{r.daily("", per(func(d *Day) work.Amount { return d.Supply }))}}
	b.WriteString(c.svg())
}

func (r *Result) concentrated(b *strings.Builder) {
	b.WriteString("<h2>Concentration of stake</h2>\n")
	c := chart{title: "All stake: bonds, unvested pay, validators", unit: "permille", xunit: "day", zero: true, lines: []line{
		r.daily("Gini's coefficient", func(d *Day) uint64 { return d.GiniPermille }),
		r.daily("share of the largest hundredth", func(d *Day) uint64 { return d.TopPermille }),
		r.daily("largest checker, of checker bonds", func(d *Day) uint64 { return d.RhoPermille })}}
	b.WriteString(c.svg())
	last := &r.Days[len(r.Days)-1]
	fmt.Fprintf(b, "<p>At the end %d of %d validators hold over a third of their stake; %s gtg are bonded by providers, %s gtg of their pay is unvested.</p>\n",
		last.Nakamoto, r.Validators, gtg(last.Bonded), gtg(last.Unvested))
}

func (r *Result) chain(b *strings.Builder) {
	b.WriteString("<h2>The chain</h2>\n<p>Messages that grow with work: commits, openings, reveals, checks, votes. Every validator votes twice in a dispute.</p>\n")
	c := chart{title: "Messages per day", unit: "messages", xunit: "day", zero: true, lines: []line{r.daily("", func(d *Day) uint64 { return d.Messages })}}
	b.WriteString(c.svg())
	c = chart{title: "Bytes per day", unit: "bytes", xunit: "day", zero: true, lines: []line{r.daily("", func(d *Day) uint64 { return d.Bytes })}}
	b.WriteString(c.svg())
	c = chart{title: "Disputes per day", unit: "disputes", xunit: "day", zero: true, lines: []line{
		r.daily("the provider was wrong", func(d *Day) uint64 { return d.Disputes - d.FalseDisputes }),
		r.daily("a checker was wrong", func(d *Day) uint64 { return d.FalseDisputes })}}
	b.WriteString(c.svg())
	c = chart{title: "Wait for the referee at the end of the day", unit: "hours", every: blocksPerTick, xunit: "day", zero: true,
		note:  fmt.Sprintf("%d disputes are judged at a time; each executes one item and votes in two rounds.", r.Params.MaxDisputes),
		lines: []line{r.daily("", func(d *Day) uint64 { return d.CourtWait })}}
	b.WriteString(c.svg())
}
