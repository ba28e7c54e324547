package wire

import "github.com/gotong-network/gotong/work"

// OfferTopic is the gossip topic of offers of a class in a region: a country's,
// whatever its subdivision. The topic without a region carries every offer: a
// provider that states a region publishes on both, so that who serves the world
// hears all on one topic, and who serves a country need not hear the world.
func OfferTopic(chain string, class work.Class, region string) string {
	if region == "" {
		region = "any"
	} else {
		region = work.Country(region)
	}
	return "gotong/offers/" + chain + "/" + string(class) + "/" + region
}
