package wire

import "github.com/gotong-network/gotong/work"

// OfferTopic is the gossip topic of offers of a class in a region; an empty
// region means that none is stated.
func OfferTopic(chain string, class work.Class, region string) string {
	if region == "" {
		region = "any"
	}
	return "gotong/offers/" + chain + "/" + string(class) + "/" + region
}
