"""Programs to begin with, for `dlc new`: whole `.net` files, in which the net is called `my_net`."""
