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
:root{color-scheme:light dark;--ink:#1b1f23;--faint:#5d6670;--rule:#dfe3e8;--zero:#9aa3ac;--ground:#fff;--band:#f5f7f9}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--faint:#a2abb4;--rule:#30363c;--zero:#6b747d;--ground:#15181b;--band:#1c2024}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:1120px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.8rem;margin-bottom:0}h2{margin-top:3rem;border-bottom:1px solid var(--rule);padding-bottom:.2rem}
p{max-width:48rem}
.scroll{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
tbody tr:nth-child(even){background:var(--band)}
th:first-child,td:first-child{text-align:left}th{color:var(--faint);font-weight:600;vertical-align:bottom}
.facts td{text-align:left;white-space:normal}.facts td:first-child{color:var(--faint);width:27rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));gap:1.2rem 1.6rem}
figure{margin:0}figcaption{font-weight:600}svg{display:block;width:100%;height:auto}
svg polyline{fill:none;stroke-width:1.6;stroke-linejoin:round}svg line{stroke:var(--rule);stroke-width:.8}svg line.zero{stroke:var(--zero)}
svg text{font-size:11px;fill:var(--faint)}
.matrix td{padding:.3rem .4rem;text-align:center}.matrix th{text-align:center}.matrix svg{width:108px;margin:.1rem auto 0}.matrix svg polyline{stroke-width:1.1}
.matrix small{color:var(--faint)}
.legend{margin:.1rem 0 .1rem .2rem}.legend span{margin-right:.9rem;font-size:.85rem;white-space:nowrap}.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.3em;border-radius:2px}
.note,.lead{color:var(--faint)}.note{font-size:.85rem;margin:.2rem 0 0}
</style></head><body>
`

// page is the report as HTML.
func (r *Result) page() string {
	var b strings.Builder
	b.WriteString(pageHead)
	fmt.Fprintf(&b, "<h1>A simulated network</h1>\n<p class=\"lead\">%s providers, %s checkers, %d validators, %d days, seed %d. Times are UTC, money is in gtg, a grain is what the median device of a class executes in five minutes.</p>\n",
		group(uint64(r.Providers)), group(uint64(r.Checkers)), r.Validators, len(r.Days), r.Seed)
	for _, part := range []func(*strings.Builder){r.summary, r.cheats, r.checking, r.market, r.disputes, r.prices, r.supply, r.concentrated, r.chain} {
		part(&b)
	}
	b.WriteString("</body></html>\n")
	return b.String()
}

// table writes rows; the first cell of each is its head.
func table(b *strings.Builder, head []string, rows [][]string) {
	class := ""
	if head[0] == "" && len(head) == 2 {
		class = " class=\"facts\""
	}
	fmt.Fprintf(b, "<div class=\"scroll\"><table%s><thead><tr>", class)
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
	b.WriteString("</tbody></table></div>\n")
}

// side writes charts beside each other.
func side(b *strings.Builder, charts ...chart) {
	b.WriteString("<div class=\"charts\">\n")
	for i := range charts {
		b.WriteString(charts[i].svg())
	}
	b.WriteString("</div>\n")
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
		{"events", group(t.Events())},
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
		{"honest providers slashed for an outage: in a check, or challenged while dark", fmt.Sprintf("%s times, %s of what they earned", group(t.HonestSilences), share(uint64(t.HonestLost), uint64(t.Kinds[Honest].Income)))},
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
	b.WriteString("<h2>Cheats and honest providers</h2>\n<p>Profit is what a kind earned, less what it lost and what executing cost it, for 1,000 work units that its machines could have done. A cheat that loses its whole bond comes back three days later under another name, if it can pay a new bond. Expected is the closed form of <code>incentive</code>, ± what chance does to 99.9 % of such runs.</p>\n")
	var rows [][]string
	for k := range kinds {
		t := &r.Total.Kinds[k]
		if r.Members[k] == 0 && t.Batches == 0 {
			continue
		}
		seen, want := "", ""
		if t.Faked > 0 {
			seen = share(t.Caught, t.Faked)
			want = share(t.ExpectE9/1_000_000, t.Faked*1000) + " ± " + share(interval(t.VarianceE9), t.Faked*1000)
		}
		rows = append(rows, []string{k.String(), group(uint64(r.Members[k])), group(t.Batches), group(t.Faked), group(t.Caught), seen, want,
			gtg(t.Income), gtg(t.Lost), gtg(t.Cost), signedMilli(t.Profit())})
	}
	table(b, []string{"kind", "identities", "batches", "with fakes", "caught", "seen", "expected", "earned", "lost", "spent", "profit"}, rows)
	profit := chart{title: "Profit per 1,000 work units of capacity, since the start", unit: "gtg", every: work.UgtgPerGtg, zero: true}
	for k := range kinds {
		if r.Members[k] == 0 {
			continue
		}
		l := line{name: k.String()}
		for i := range r.Days {
			l.values = append(l.values, r.Days[i].Profits[k])
		}
		profit.lines = append(profit.lines, l)
	}
	side(b, profit, chart{title: "Wrong results accepted", unit: "of a million items of the day", zero: true, lines: []line{
		r.daily("", func(d *Day) uint64 { return ratio(d.WrongItems, d.Items, 1_000_000) })}})
	rows = nil
	for k := range checkerKinds {
		rows = append(rows, []string{k.String(), group(uint64(r.CheckerCount[k])), gtg(r.CheckerEarned[k]), gtg(r.CheckerLost[k])})
	}
	table(b, []string{"checkers", "number", "earned", "lost"}, rows)
}

// interval is 3.29 standard deviations, in thousandths of a count, of a variance in
// 1e-9: what a normal exceeds in one of a thousand cases.
func interval(varianceE9 uint64) uint64 {
	v := varianceE9 / 1000 // thousandths, squared
	root := v
	for next := (root + 1) / 2; next < root; next = (root + v/root) / 2 {
		root = next
	}
	return root * 329 / 100
}

func (r *Result) checking(b *strings.Builder) {
	b.WriteString("<h2>Cost of checking</h2>\n<p>A provider with unvested pay may pledge it for draws: fewer of its items are drawn, and it loses more if one is wrong.</p>\n")
	side(b, chart{title: "Cost of checking", unit: "%", every: 10_000, zero: true, lines: []line{
		r.daily("fees, of what work is paid", func(d *Day) uint64 { return ratio(uint64(d.CheckFees), uint64(d.Pay), 1_000_000) }),
		r.daily("fuel, of what work burns", func(d *Day) uint64 { return ratio(d.CheckUnits, d.Units, 1_000_000) })}},
		chart{title: "Draws per batch", unit: "draws", every: 1000, zero: true, lines: []line{
			r.daily("", func(d *Day) uint64 { return ratio(d.Draws, d.Batches, 1000) })}})
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
	side(b, chart{title: "Utilisation of what is online, hour by hour", unit: "%", w: 980, h: 190, every: 100, day: ticksPerDay, zero: true, lines: []line{util}})
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
	b.WriteString("<h2>Prices by region and class, against supply and demand</h2>\n<p>Mean price in ugtg per work unit; under it demand as a share of supply, and Jain's index of the load of its honest providers.</p>\n")
	fmt.Fprintf(b, "<p class=\"legend\">The last week, hour by hour: <span><i style=\"background:%s\"></i>price</span><span><i style=\"background:%s\"></i>demand</span><span><i style=\"background:%s\"></i>supply</span> Demand and supply are on one scale, the price is on its own.</p>\n", colours[0], colours[1], colours[2])
	b.WriteString("<div class=\"scroll\"><table class=\"matrix\"><thead><tr><th>class</th>")
	for _, g := range regions {
		b.WriteString("<th>" + g.code + "</th>")
	}
	b.WriteString("</tr></thead><tbody>\n")
	for i := range classes {
		fmt.Fprintf(b, "<tr><td>%s</td>", classes[i].name)
		for j := range regions {
			c := &r.Cells[i*len(regions)+j]
			fmt.Fprintf(b, "<td>%d<br><small>%d %% · %.2f</small>%s</td>", c.Price, ratio(c.Wanted, c.Supply, 100), c.Jain, c.week())
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</tbody></table></div>\n")
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
	v := chart{title: fmt.Sprintf("%s %s: price, demand and supply of the last week", c.Region, c.Class), zero: true, bare: true, w: 108, h: 40, lines: []line{price, demand, supply}}
	return v.svg()
}

func (r *Result) supply(b *strings.Builder) {
	b.WriteString("<h2>Mint and burn</h2>\n")
	per := func(f func(*Day) work.Amount) func(*Day) uint64 {
		return func(d *Day) uint64 { return uint64(f(d)) / work.UgtgPerGtg }
	}
	side(b, chart{title: "Mint and burn per day", unit: "gtg", zero: true, lines: []line{
		r.daily("minted for work", per(func(d *Day) work.Amount { return d.Minted })),
		r.daily("burned as fees", per(func(d *Day) work.Amount { return d.FeeBurn })),
		r.daily("minted for the commons", per(func(d *Day) work.Amount { return d.CommonsMinted })),
		r.daily("slashed and burned", per(func(d *Day) work.Amount { return d.SlashBurn }))}},
		chart{title: "Change of the supply since the start", unit: "gtg", zero: true, lines: []line{r.change()}})
	fmt.Fprintf(b, "<p class=\"note\">At the start there were %s gtg, most of them clients' money.</p>\n", gtg(r.Genesis))
}

// change is how far the supply of each day is from the start's, in gtg.
func (r *Result) change() (l line) {
	for i := range r.Days {
		l.values = append(l.values, (int64(r.Days[i].Supply)-int64(r.Genesis))/work.UgtgPerGtg)
	}
	return l
}

func (r *Result) concentrated(b *strings.Builder) {
	b.WriteString("<h2>Concentration of stake</h2>\n")
	side(b, chart{title: "All stake: bonds, unvested pay, validators' stakes", unit: "permille", zero: true, lines: []line{
		r.daily("Gini's coefficient", func(d *Day) uint64 { return d.GiniPermille }),
		r.daily("share of the largest hundredth", func(d *Day) uint64 { return d.TopPermille }),
		r.daily("largest checker, of checkers' bonds", func(d *Day) uint64 { return d.RhoPermille })}},
		chart{title: "Providers' stake", unit: "gtg", zero: true, lines: []line{
			r.daily("bonds", func(d *Day) uint64 { return uint64(d.Bonded) / work.UgtgPerGtg }),
			r.daily("unvested pay", func(d *Day) uint64 { return uint64(d.Unvested) / work.UgtgPerGtg })}})
	last := &r.Days[len(r.Days)-1]
	fmt.Fprintf(b, "<p>At the end %d of %d validators hold over a third of their stake; %s gtg are bonded by providers, %s gtg of their pay is unvested.</p>\n",
		last.Nakamoto, r.Validators, gtg(last.Bonded), gtg(last.Unvested))
}

func (r *Result) disputes(b *strings.Builder) {
	t := &r.Total
	fmt.Fprintf(b, "<h2>Disputes</h2>\n<p>The referee hears %d disputes at a time, in the order in which they open: each executes what is contested and takes two rounds of votes. Younger batches of the same provider are not paid before the verdict.</p>\n", r.Params.MaxDisputes)
	b.WriteString("<p>Beside the checkers, strangers accuse batches in their windows: watchers who execute an item of one batch in a thousand, spammers who lie, others who challenge whoever has just gone dark, and clients who miss an output. Whoever is wrong loses his stake.</p>\n")
	rows := [][]string{
		{"disputes; in which the provider was right", group(t.Disputes) + "; " + group(t.FalseDisputes)},
		{"wait for the referee: half, 95 %, 99 % of the disputes", fmt.Sprintf("within %d h, %d h, %d h", quantile(t.CourtWaits[:], 500)+1, quantile(t.CourtWaits[:], 950)+1, quantile(t.CourtWaits[:], 990)+1)},
		{"batches that waited for a verdict, of all; longer by", share(t.Held, t.Settled) + "; " + decimal(int64(ratio(t.HeldTicks, t.Held, 10)), 10) + " h each"},
		{"watchers: items executed; lies found; spent on executing; earned", fmt.Sprintf("%s; %s; %s; %s gtg", group(t.Watched), group(t.WatchFound), milli(t.WatchCost), milli(t.WatchEarned))},
		{"false challenges: stakes lost by spammers", gtg(t.StakesLost[bySpammer]) + " gtg"},
		{"challenges of who had just gone dark; that were not answered; stakes lost", fmt.Sprintf("%s; %s; %s gtg", group(t.Vultures), group(t.VultureHits), gtg(t.StakesLost[byVulture]))},
		{"claims of outputs; batches whose outputs were kept; stakes lost by wrong claims", fmt.Sprintf("%s; %s; %s gtg", group(t.Claims), group(t.Kept), gtg(t.StakesLost[byClient]))},
		{"batches frozen for governance; demand refused because its program was suspended", group(t.Freezes) + "; " + share(t.GrainsSuspended, t.GrainsWanted)},
	}
	if t.FreezeTries > 0 {
		rows = append(rows, []string{"the ring's tries to have a program suspended; what they cost it, its checkers' stakes aside", group(t.FreezeTries) + "; " + gtg(r.FreezeCost) + " gtg"})
	}
	table(b, []string{"", ""}, rows)
	side(b, chart{title: "Disputes per day", unit: "disputes", zero: true, lines: []line{
		r.daily("the provider was wrong", func(d *Day) uint64 { return d.Disputes - d.FalseDisputes }),
		r.daily("the provider was right", func(d *Day) uint64 { return d.FalseDisputes })}},
		chart{title: "How long the referee's queue is at the end of the day", unit: "hours", every: blocksPerTick, zero: true,
			lines: []line{r.daily("", func(d *Day) uint64 { return d.CourtWait })}})
}

// signedMilli writes an amount that may be negative in gtg with three digits.
func signedMilli(v int64) string {
	if v < 0 {
		return "−" + milli(work.Amount(-v))
	}
	return milli(work.Amount(v))
}

// milli writes an amount in gtg with three digits.
func milli(a work.Amount) string {
	return fmt.Sprintf("%s.%03d", gtg(a), uint64(a)%work.UgtgPerGtg/(work.UgtgPerGtg/1000))
}

func (r *Result) chain(b *strings.Builder) {
	b.WriteString("<h2>The chain</h2>\n<p>Messages that grow with work: commits, openings, reveals, checks, challenges, claims, votes. Every validator votes twice in a dispute.</p>\n")
	side(b, chart{title: "Messages per day", unit: "messages", zero: true, lines: []line{r.daily("", func(d *Day) uint64 { return d.Messages })}},
		chart{title: "Bytes per day", unit: "bytes", zero: true, lines: []line{r.daily("", func(d *Day) uint64 { return d.Bytes })}})
}
