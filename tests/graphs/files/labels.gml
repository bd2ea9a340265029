graph [
  directed 1
  node [
    id 0
    label "Aue"
    population 10
  ]
  node [
    id 1
    label "Borna"
    population 10
  ]
  node [
    id 2
    label "Calw"
    population 10
  ]
  node [
    id 3
    label "D&#246;rpen"
    population 10
  ]
  edge [
    source 0
    target 1
    weight 2.0
    kind "road"
  ]
  edge [
    source 0
    target 3
    weight 5.0
    kind "road"
  ]
  edge [
    source 1
    target 0
    weight 4.0
    kind "road"
  ]
  edge [
    source 1
    target 2
    weight 1.0
    kind "road"
  ]
  edge [
    source 2
    target 3
    weight 3.0
    kind "road"
  ]
  edge [
    source 3
    target 3
    weight 7.0
    kind "road"
  ]
]
