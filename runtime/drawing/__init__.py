"""Pictures of networks: nets and training steps as boxes, laid out in layers, written as SVG."""
